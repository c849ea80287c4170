#include "config.h"

#include "privileges.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/capability.h>

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "log.h"

void
privileges_seal(void)
{
	static const struct rlimit none = { 0, 0 };

	/*
	 * Not dumpable is enough for this process, whatever core_pattern is;
	 * the limit is for children.  A supervisor's filter of system calls may
	 * refuse it.
	 */
	if (setrlimit(RLIMIT_CORE, &none) == -1)
		log_debug("core limit: %m");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		fatal("no core dumps");
	umask(077);
}

/* The groups of the user, or its group alone when it has no name. */
static void
set_groups(uid_t uid, gid_t gid)
{
	char *name = account_name(uid);
	int rc;

	rc = name != NULL ? initgroups(name, gid) : setgroups(1, &gid);
	if (rc == -1)
		fatal("setgroups");
	free(name);
}

/* Are all three ids what they should be, and is 0 out of reach? */
static void
prove(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
		0 };
	struct __user_cap_data_struct caps[2];
	uid_t ru, eu, su;
	gid_t rg, eg, sg;

	if (getresuid(&ru, &eu, &su) == -1 || getresgid(&rg, &eg, &sg) == -1 ||
	    ru != uid || eu != uid || su != uid || rg != gid || eg != gid ||
	    sg != gid)
		fatalx("the user could not be changed for good");
	if (setuid(0) != -1 || seteuid(0) != -1 || setresuid(0, 0, 0) != -1 ||
	    (gid != 0 && setgid(0) != -1))
		fatalx("root's rights came back");
	memset(caps, 0, sizeof(caps));
	if (syscall(SYS_capget, &head, caps) == -1)
		fatal("capget");
	if ((caps[0].permitted | caps[0].effective | caps[1].permitted |
		caps[1].effective) != 0)
		fatalx("capabilities are left: start without "
		       "SECBIT_NO_SETUID_FIXUP");
}

void
privileges_drop(uid_t uid, gid_t gid)
{
	if (geteuid() != 0 || uid == 0)
		return;
	set_groups(uid, gid);
	if (setresgid(gid, gid, gid) == -1 || setresuid(uid, uid, uid) == -1)
		fatal("become user %ld", (long)uid);
	prove(uid, gid);
	/* A change of user has reset it to what the system has as a rule. */
	privileges_seal();
}

void
privileges_no_new(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		fatal("no_new_privs");
}
