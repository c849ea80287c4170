#include "config.h"

#include "prog.h"

#include <sys/types.h>

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "account.h"
#include "asset.h"
#include "fcgi.h"
#include "listen.h"
#include "log.h"
#include "privileges.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

struct options {
	const char *conf;
	const char *address; /* NULL: the socket we were started with */
	struct listen_options listen;
	bool owned; /* listen has a mode or an owner */
	bool foreground;
	bool check;
	bool verbose;
};

static void
help(const struct prog *prog)
{
	printf("usage: %s [-dhNnVv] [-f file] [-m mode] [-o owner] "
	       "[-s address]\n"
	       "%s\n\n"
	       "  -d          log to standard error instead of syslog\n"
	       "  -f file     the configuration (default %s)\n"
	       "  -h          this text\n"
	       "  -m mode     of the unix socket; 0660 without it\n"
	       "  -N          with HOST:PORT: other machines may connect\n"
	       "  -n          check the configuration and exit\n"
	       "  -o owner    of the unix socket: USER, USER:GROUP or :GROUP\n"
	       "  -s address  listen on a unix socket, /PATH, or on HOST:PORT; "
	       "without\n"
	       "              it on the socket we are started with "
	       "(spawn-fcgi, lighttpd,\n"
	       "              systemd)\n"
	       "  -v          log more\n"
	       "  -V          print the version\n"
	       "\nStarted by a web server as CGI it takes no options: see "
	       "%s(8),\nand tmpnix.conf(5).\n",
	    prog->name, prog->purpose, TMPNIX_CONF, prog->name);
}

/* What is said about a path is meant for one. */
static int
check_options(const struct prog *prog, const struct options *o)
{
	bool path = o->address != NULL && listen_is_path(o->address);

	if (o->owned && !path)
		fprintf(
		    stderr, "%s: -m and -o need -s with a path\n", prog->name);
	else if (o->listen.network && (o->address == NULL || path))
		fprintf(stderr, "%s: -N needs -s with HOST:PORT\n", prog->name);
	else
		return -1;
	return 2;
}

/* -1 to go on, else the exit status. */
static int
parse_options(
    const struct prog *prog, int argc, char *argv[], struct options *o)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *why;
	int c;

	while ((c = getopt_long(argc, argv, "df:hm:Nno:s:vV", longs, NULL)) !=
	    -1) {
		switch (c) {
		case 'd':
			o->foreground = true;
			break;
		case 'f':
			o->conf = optarg;
			break;
		case 'h':
			help(prog);
			return 0;
		case 'm':
			if (listen_parse_mode(optarg, &o->listen.mode) == -1) {
				fprintf(stderr,
				    "%s: -m %s: not an octal mode, such as "
				    "0660\n",
				    prog->name, optarg);
				return 2;
			}
			o->owned = true;
			break;
		case 'N':
			o->listen.network = true;
			break;
		case 'n':
			o->check = true;
			break;
		case 'o':
			why = account_parse(
			    optarg, &o->listen.uid, &o->listen.gid);
			if (why != NULL) {
				fprintf(stderr, "%s: -o %s: %s\n", prog->name,
				    optarg, why);
				return 2;
			}
			o->owned = true;
			break;
		case 's':
			o->address = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'V':
			printf("%s %s\n", prog->name, PACKAGE_VERSION);
			return 0;
		default:
			fprintf(stderr, "try %s --help\n", prog->name);
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "%s: unexpected argument %s: try --help\n",
		    prog->name, argv[optind]);
		return 2;
	}
	return check_options(prog, o);
}

/*
 * The options of a CGI process are in the environment, where clients can put
 * nothing but HTTP_* (RFC 3875, 4.1.18).  Its arguments are theirs: words of
 * the query, where the web server passes them (4.4).
 */
static void
cgi_options(struct options *o)
{
	const char *conf = secure_getenv("TMPNIX_CONF");
	const char *log = secure_getenv("TMPNIX_LOG");

	if (conf != NULL && conf[0] != '\0')
		o->conf = conf;
	o->foreground = log != NULL && strcmp(log, "stderr") == 0;
}

/* Descriptors 0 to 2 open, so that no file of ours becomes one of them. */
static void
open_standard_fds(void)
{
	int fd;

	do {
		if ((fd = open("/dev/null", O_RDWR)) == -1)
			exit(1);
	} while (fd < 2);
	if (fd > 2)
		close(fd);
}

/* NULL (logged). */
static struct listener *
listen_somewhere(const struct prog *prog, const struct options *o)
{
	struct listener *l = NULL;

	if (o->address != NULL)
		return listen_open(o->address, &o->listen);
	if (listen_inherit(&l) == LISTEN_NONE)
		log_warnx("descriptor 0 is no listening socket: give -s "
			  "address, or start %s from spawn-fcgi, lighttpd or "
			  "systemd",
		    prog->name);
	return l;
}

/*
 * Who to be, when we are root: the user of the configuration.  A socket is
 * theirs too, unless -o says something else, or its directory has a group for
 * it.
 */
static void
find_user(const struct conf *conf, struct options *o, uid_t *uid, gid_t *gid)
{
	const char *why;

	if (geteuid() != 0)
		return;
	if (conf->user == NULL)
		fatalx("%s: started as root: set user to who this is to run "
		       "as (root, if it must be), or start as that user",
		    o->conf);
	if ((why = account_parse(conf->user, uid, gid)) != NULL)
		fatalx("%s: user %s: %s", o->conf, conf->user, why);
	if (*gid == (gid_t)-1)
		fatalx("%s: user %s: has no group: add it behind a colon",
		    o->conf, conf->user);
	if (o->listen.uid == (uid_t)-1)
		o->listen.uid = *uid;
	if (o->listen.gid == (gid_t)-1 &&
	    !(o->address != NULL && listen_has_group(o->address)))
		o->listen.gid = *gid;
}

/* -n, as the user that would serve: the exit status. */
static int
check(const struct prog *prog, struct options *o, const struct conf *conf)
{
	uid_t uid = 0;
	gid_t gid = 0;

	if (sodium_init() == -1)
		fatalx("libsodium can't start");
	find_user(conf, o, &uid, &gid);
	privileges_drop(uid, gid);
	if (prog->check(conf) > 0)
		return 1;
	printf("%s: ok\n", o->conf);
	return 0;
}

static void
enter_sandbox(const struct prog *prog, const struct options *o,
    const struct conf *conf, struct listener *l)
{
	/* Any of them may be a symbolic link to another place. */
	static const char *const dirs[] = { "", "/spool", "/spool/incoming",
		"/spool/ready", "/" ASSET_DIR_PUBLIC, "/" ASSET_DIR_PRIVATE,
		"/drvs", "/keys" };
	/* What libraries look at in any program. */
	static const char *const files[] = { "/etc/localtime", "/etc/ssl",
		"/usr/lib/ssl", "/usr/share/zoneinfo", "/proc/self" };
	static const char *const devices[] = { "/dev/null", "/dev/random",
		"/dev/urandom" };
	struct buf path = BUF_INIT;
	struct sandbox *sb;
	size_t i;

	if (!conf->sandbox || (sb = sandbox_new(prog->tcp)) == NULL)
		return;
	for (i = 0; i < nitems(dirs); i++) {
		buf_clear(&path);
		buf_addf(&path, "%s%s", conf->state_dir, dirs[i]);
		sandbox_write(sb, buf_str(&path));
	}
	buf_free(&path);
	for (i = 0; i < nitems(files); i++)
		sandbox_read(sb, files[i]);
	for (i = 0; i < nitems(devices); i++)
		sandbox_use(sb, devices[i]);
	sandbox_read(sb, conf->tls_ca_file);
	sandbox_read_replaced(sb, o->conf);
	sandbox_read_replaced(sb, conf->public_key_file);
	sandbox_read_replaced(sb, conf->drv_public_key_file);
	sandbox_read_replaced(sb, conf->s3_credentials_file);
	sandbox_read_replaced(sb, conf->glitch_token_file);
	if (l != NULL)
		sandbox_remove_in(sb, listen_dir(l));
	else /* what is produced goes into a temporary file (fcgi.h) */
		sandbox_write(sb, P_tmpdir);
	if (prog->allow == NULL || prog->allow(conf, sb))
		sandbox_enter(sb);
	else
		sandbox_free(sb);
}

int
prog_main(const struct prog *prog, int argc, char *argv[])
{
	struct options o = {
		.conf = TMPNIX_CONF,
		.listen = { .mode = 0660, .uid = (uid_t)-1, .gid = (gid_t)-1 },
	};
	struct buf errs = BUF_INIT;
	struct listener *l = NULL; /* CGI: none */
	struct live *lv = NULL;
	struct conf *conf;
	sigset_t set;
	uid_t uid = 0;
	gid_t gid = 0;
	int rc;
	bool cgi;

	open_standard_fds();
	if ((cgi = fcgi_is_cgi())) {
		cgi_options(&o);
		if (fcgi_cgi_begin() == -1)
			return 1;
	} else if ((rc = parse_options(prog, argc, argv, &o)) != -1)
		return rc;
	log_init(prog->name, o.foreground || o.check, LOG_LVL_INFO);
	if ((conf = conf_load(o.conf, &errs)) == NULL) {
		log_lines(buf_str(&errs));
		buf_free(&errs);
		return 1;
	}
	if (o.check) {
		rc = check(prog, &o, conf);
		conf_free(conf);
		return rc;
	}
	log_init(prog->name, o.foreground,
	    o.verbose ? LOG_LVL_DEBUG : conf->log_level);
	if (sodium_init() == -1)
		fatalx("libsodium can't start");
	/* Many threads, little memory each: arenas would not be shared. */
	mallopt(M_ARENA_MAX, 2);
	/* What a NAR needed to be unpacked is given back: left to itself,
	 * malloc keeps what was once asked for. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);

	/*
	 * While we may be root: who to be, and the socket, which root can make
	 * where that user can't.  Then nothing of root is left, for us and for
	 * our children.  All other files are opened after that, so they must be
	 * the user's, secrets too.  Nothing has come in by the socket so far.
	 */
	privileges_seal();
	find_user(conf, &o, &uid, &gid);
	if (!cgi && (l = listen_somewhere(prog, &o)) == NULL) {
		conf_free(conf);
		return 1;
	}
	if (o.listen.network && conf->web_servers.n == 0)
		log_warnx("-N: whoever can connect to %s can end this program, "
			  "and claim to be any client: name the web servers "
			  "(web_servers)",
		    o.address);
	privileges_drop(uid, gid);
	privileges_no_new();
	enter_sandbox(prog, &o, conf, l);

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (!cgi)
		sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if ((lv = live_new(o.conf, conf, o.verbose)) == NULL)
		fatalx("no memory");
	rc = prog->run(lv, l);
	listen_close(l);
	/* Threads that are still at work must not see anything go. */
	if (rc != 0)
		_exit(rc);
	live_free(lv);
	return 0;
}
