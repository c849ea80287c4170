#include "config.h"

#include "tmpnix.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "clean.h"
#include "log.h"
#include "privileges.h"
#include "ready.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

struct command {
	const char *name; /* one word or two */
	int (*run)(struct tool *t, int argc, char **argv);
	const char *arguments;
	const char *summary;
	const char *help;
};

static const struct command commands[] = {
	{ "init", init_run,
	    "[-d STATE_DIR] [-S STORE_DIR] [-u URL] [-b BODY_DIR] "
	    "[--new-index]",
	    "make the configuration, directories, index and keys",
	    "  -d, --state-dir STATE_DIR  where everything is kept\n"
	    "  -S, --store-dir STORE_DIR  the packages' Nix store directory\n"
	    "  -u, --url URL              where clients reach the web server\n"
	    "  -b, --body-dir BODY_DIR    where the web server leaves bodies\n"
	    "  --new-index                use an empty index although there "
	    "are\n"
	    "                             objects that another one knew\n"
	    "\n"
	    "What is there already is kept; run it as the user that the\n"
	    "programs run as.\n" },
	{ "key generate", key_generate_run, "NAME [-o DIR]",
	    "make a signing key, print its public half",
	    "  -o, --output DIR  where NAME.sec and NAME.pub go\n"
	    "                    (default: keys in the state directory)\n" },
	{ "token add", token_add_run,
	    "NAME [--push] [--pull] [--drv] [--admin] [--expires TIME] "
	    "[--key KEY ...] [--quota-day SIZE] [--quota-total SIZE]",
	    "make a token, print its netrc line once",
	    "  --push          may upload\n"
	    "  --pull          may read, where reading is not for everyone\n"
	    "  --drv           may ask for derivations\n"
	    "  --admin         may do everything\n"
	    "  --expires TIME  such as 90d or 12h (default: never)\n"
	    "  --key KEY       takes only paths signed by KEY, NAME:BASE64 or\n"
	    "                  a file that holds it; may be given again\n"
	    "  --quota-day SIZE    bytes it may upload a day (UTC), such as "
	    "5G\n"
	    "  --quota-total SIZE  bytes it may upload in all\n"
	    "\n"
	    "Without a scope it is --push --pull.\n" },
	{ "token list", token_list_run, "[--json]", "list the tokens",
	    "  --json   one JSON array: bytes, seconds\n" },
	{ "token revoke", token_revoke_run, "NAME",
	    "make a token useless at once", NULL },
	{ "client-conf", client_conf_run,
	    "[--token NAME] [--netrc-file FILE] [--nixos | --nix-conf | "
	    "--netrc | --builder | --ci github | --ci gitlab]",
	    "print what a client has to be told to use the cache",
	    "  --token NAME       make a token with the scopes push and pull, "
	    "and\n"
	    "                     print its netrc line among the rest, this "
	    "once\n"
	    "  --netrc-file FILE  where the client has its netrc (default:\n"
	    "                     /etc/nix/netrc)\n"
	    "  --nix-conf         lines of nix.conf alone\n"
	    "  --netrc            the netrc's line alone; with --token it is a "
	    "good one\n"
	    "  --builder          client.conf of tmpnix-build and its hook\n"
	    "  --nixos            a module of NixOS\n"
	    "  --ci SERVICE       steps of github's Actions, a job of gitlab's "
	    "CI\n"
	    "\n"
	    "Without one of these it is all that a person has to paste.  The\n"
	    "cache's address with setup.sh behind it is a script that does it "
	    "all.\n" },
	{ "sign", sign_run, "[-k FILE ...] [--repair] [PATH ...]",
	    "sign the paths that are here with the cache's keys",
	    "  -k, --key FILE  a secret key's file (default: secret_key_file)\n"
	    "  --repair        drop what is over a narinfo's limits\n"
	    "\n"
	    "Without a PATH all of them; those whose NAR was not verified are\n"
	    "left out.  A path that has the signature already is not "
	    "changed.\n" },
	{ "log", log_run, "[-n COUNT] [--token NAME] [--since TIME]",
	    "who uploaded what",
	    "  -n, --lines COUNT  the last COUNT lines (default: 100; 0: all)\n"
	    "  --token NAME       of one token\n"
	    "  --since TIME       not older than TIME, such as 2d\n"
	    "\n"
	    "A line has time, token, address, bytes, new, changed or same, "
	    "and\n"
	    "the object's key.\n" },
	{ "status", status_run, "[--json] [--local]",
	    "what the caches hold, what waits, whether all is well",
	    "  --json   one JSON object: bytes, seconds\n"
	    "  --local  don't ask the programs, the web server, the asset "
	    "store\n"
	    "\n"
	    "The exit status is 1 when a person should look: a program or the\n"
	    "asset store does not answer, an object failed or is stuck, the "
	    "disk\n"
	    "is full, the index was lost.\n" },
	{ "relay", relay_run, "[--retry-failed] [--timeout TIME]",
	    "carry what is spooled into the asset store",
	    "  --retry-failed  start over with what failed or waits for its "
	    "next try\n"
	    "  --timeout TIME  end after TIME, such as 10m, whatever is left\n"
	    "\n"
	    "For cron where tmpnix-upload runs as CGI or is stopped; where it\n"
	    "runs it does no harm.  Ends when nothing can be carried just "
	    "now.\n"
	    "The exit status is 1 when something is not stored then.\n" },
	{ "fsck", fsck_run,
	    "[--bytes] [--verify] [--repair] [--sample PERCENT] [--rate SIZE] "
	    "[--resume] [--scrub] [--progress] [--json] [--rebuild]",
	    "check that index, spool and asset store fit together",
	    "  --bytes           read every file and compare its digest\n"
	    "  --verify          unpack every NAR again and compare the "
	    "verdict\n"
	    "  --repair          mend what is found\n"
	    "  --sample PERCENT  of the objects, others each day\n"
	    "  --rate SIZE       read at most so many bytes a second\n"
	    "  --resume          go on where the last one was interrupted\n"
	    "  --scrub           what is due today of everything in a month\n"
	    "  --progress        a line for each percent, without a terminal "
	    "too\n"
	    "  --json            one JSON object\n"
	    "  --rebuild         make a new index from the file store\n"
	    "\n"
	    "The exit status is 0 when nothing is wrong, 1 when something is, "
	    "or\n"
	    "was and is repaired, 2 when it could not be checked to its end, "
	    "3\n"
	    "when a signal ended it.\n" },
	{ "retry", retry_run, "[KEY ...]",
	    "start over with what the asset store refused",
	    "Without a KEY it is all that failed or waits for another try.\n"
	    "A key is what follows the cache's URL, as tmpnix status names "
	    "it.\n" },
};

/* One write for the line, so that lines of two processes never mix. */
static void __attribute__((format(printf, 2, 0)))
print_line(const char *prefix, const char *fmt, va_list ap)
{
	char line[2048];
	size_t len = strlen(prefix), i;
	int n;

	memcpy(line, prefix, len);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	if (n < 0)
		return;
	len = strlen(line);
	for (i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	/* Nobody is left to tell when stderr can't be written. */
	if (write(STDERR_FILENO, line, len) == -1)
		return;
}

void
tool_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line("tmpnix: ", fmt, ap);
	va_end(ap);
}

void
tool_hint(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line("", fmt, ap);
	va_end(ap);
}

/* Is command c called name, or does its name begin with the word name? */
static bool
command_matches(const struct command *c, const char *name)
{
	size_t len = strlen(name);

	return strncmp(c->name, name, len) == 0 &&
	    (c->name[len] == '\0' || c->name[len] == ' ');
}

static size_t
print_usages(FILE *to, const char *name)
{
	size_t i, n = 0;

	for (i = 0; i < nitems(commands); i++)
		if (command_matches(&commands[i], name))
			fprintf(to, "%s tmpnix [-f FILE] %s%s%s\n",
			    n++ == 0 ? "usage:" : "      ", commands[i].name,
			    commands[i].arguments[0] != '\0' ? " " : "",
			    commands[i].arguments);
	return n;
}

int
tool_usage(const char *command)
{
	print_usages(stderr, command);
	return TOOL_USAGE;
}

int
tool_help(const char *command)
{
	size_t i;

	if (print_usages(stdout, command) == 0) {
		tool_error(
		    "%s: no such command: tmpnix help lists them", command);
		return TOOL_USAGE;
	}
	for (i = 0; i < nitems(commands); i++)
		if (command_matches(&commands[i], command))
			printf("\n%s: %s\n%s", commands[i].name,
			    commands[i].summary,
			    commands[i].help != NULL ? commands[i].help : "");
	return TOOL_OK;
}

static void
main_help(FILE *to)
{
	size_t i;

	fprintf(to,
	    "usage: tmpnix [-f FILE] COMMAND [ARGUMENT ...]\n"
	    "       tmpnix [-f FILE] -n\n"
	    "       tmpnix help [COMMAND]\n"
	    "\n"
	    "  -f, --config FILE  the configuration file (default: "
	    "$TMPNIX_CONF or\n"
	    "                     %s)\n"
	    "  -n, --check        check the configuration and exit\n"
	    "  -h, --help         print this\n"
	    "      --version      print the version\n"
	    "\n",
	    TMPNIX_CONF);
	for (i = 0; i < nitems(commands); i++)
		fprintf(
		    to, "  %-14s %s\n", commands[i].name, commands[i].summary);
}

const struct conf *
tool_conf(struct tool *t)
{
	struct buf errs = BUF_INIT;
	const char *p, *lf;

	if (t->conf != NULL)
		return t->conf;
	if (access(t->conf_file, F_OK) == -1 && errno == ENOENT) {
		tool_error("%s: no such file: make it by tmpnix init, or "
			   "name another by -f",
		    t->conf_file);
		return NULL;
	}
	t->conf = conf_load(t->conf_file, &errs);
	for (p = buf_str(&errs); (lf = strchr(p, '\n')) != NULL; p = lf + 1)
		tool_error("%.*s", (int)(lf - p), p);
	buf_free(&errs);
	return t->conf;
}

void
tool_become_owner(const struct conf *conf)
{
	struct stat st;

	if (geteuid() != 0 || stat(conf->state_dir, &st) == -1 ||
	    st.st_uid == 0)
		return;
	privileges_drop(st.st_uid, st.st_gid);
	privileges_no_new();
}

struct index *
tool_index(struct tool *t, enum index_mode mode)
{
	const struct conf *c;
	struct buf file = BUF_INIT;
	struct index *ix = NULL;

	if ((c = tool_conf(t)) == NULL)
		return NULL;
	tool_become_owner(c);
	/* index_open would make a new one where state_dir is a typing error. */
	buf_addf(&file, "%s/index.db", c->state_dir);
	if (access(buf_str(&file), R_OK | W_OK) == -1) {
		if (errno == ENOENT)
			tool_error("%s: no such file: run tmpnix init",
			    buf_str(&file));
		else
			tool_error("%s: %m: run this as the user the programs "
				   "run as",
			    buf_str(&file));
		goto out;
	}
	t->clean = clean_is(c->state_dir);
	if ((ix = index_open(c->state_dir, mode)) == NULL)
		tool_error("%s: can't be used, see above", buf_str(&file));
out:
	buf_free(&file);
	return ix;
}

/* tmpnix help [COMMAND [WORD]] */
static int
help_run(int argc, char **argv)
{
	struct buf name = BUF_INIT;
	int i, rc;

	if (argc < 2) {
		main_help(stdout);
		return TOOL_OK;
	}
	for (i = 1; i < argc; i++) {
		if (i > 1)
			buf_addch(&name, ' ');
		buf_adds(&name, argv[i]);
	}
	rc = tool_help(buf_str(&name));
	buf_free(&name);
	return rc;
}

/* Find the command that argv begins with; *words is how many name it. */
static const struct command *
find_command(int argc, char **argv, int *words)
{
	const char *name, *second;
	size_t i, len;

	for (i = 0; i < nitems(commands); i++) {
		name = commands[i].name;
		second = strchr(name, ' ');
		len = second != NULL ? (size_t)(second - name) : strlen(name);
		if (strlen(argv[0]) != len || strncmp(argv[0], name, len) != 0)
			continue;
		*words = second != NULL ? 2 : 1;
		if (second == NULL ||
		    (argc > 1 && strcmp(argv[1], second + 1) == 0))
			return &commands[i];
	}
	return NULL;
}

static int
dispatch(struct tool *t, int argc, char **argv)
{
	const struct command *c;
	char name[64];
	int i, words = 0;

	if (strcmp(argv[0], "help") == 0)
		return help_run(argc, argv);
	if ((c = find_command(argc, argv, &words)) == NULL) {
		/* A group: "tmpnix token", "tmpnix token --help". */
		if (words == 2) {
			if (argc > 1 &&
			    (strcmp(argv[1], "--help") == 0 ||
				strcmp(argv[1], "-h") == 0))
				return tool_help(argv[0]);
			return tool_usage(argv[0]);
		}
		tool_error(
		    "%s: no such command: tmpnix help lists them", argv[0]);
		return TOOL_USAGE;
	}
	for (i = words; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return tool_help(c->name);
	/* What getopt_long complains in the name of. */
	snprintf(name, sizeof(name), "tmpnix %s", c->name);
	argv[words - 1] = name;
	/* 0 makes getopt_long begin anew (getopt(3), NOTES). */
	optind = 0;
	return c->run(t, argc - words + 1, argv + words - 1);
}

static int
check_configuration(struct tool *t)
{
	const struct conf *conf;

	if ((conf = tool_conf(t)) == NULL)
		return TOOL_FAILED;
	if (!ready_has_state(conf))
		tool_hint("%s: state_dir %s is not there yet: run tmpnix init, "
			  "and check again",
		    t->conf_file, conf->state_dir);
	else {
		tool_become_owner(conf);
		if (ready_all(conf) > 0)
			return TOOL_FAILED;
	}
	printf("%s: the configuration is good\n", t->conf_file);
	return TOOL_OK;
}

/* Descriptors 0 to 2 must be open, or a file we write would become one. */
static void
open_standard_fds(void)
{
	struct stat st;
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fstat(fd, &st) == -1 && errno == EBADF &&
		    open("/dev/null", O_RDWR) != fd)
			_exit(TOOL_FAILED);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'f' },
		{ "check", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *conf = secure_getenv("TMPNIX_CONF");
	struct tool t = { .conf_file = TMPNIX_CONF };
	bool check = false;
	int c, rc;

	open_standard_fds();
	if (conf != NULL && conf[0] != '\0')
		t.conf_file = conf;
	/* Whatever shall be read by others gets its mode explicitly. */
	umask(077);
	log_init("tmpnix", true, LOG_LVL_WARN);
	if (sodium_init() == -1)
		fatalx("libsodium can't be used");
	while ((c = getopt_long(argc, argv, "+f:nh", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			t.conf_file = optarg;
			break;
		case 'n':
			check = true;
			break;
		case 'h':
			main_help(stdout);
			return TOOL_OK;
		case 'V':
			printf("tmpnix %s\n", PACKAGE_VERSION);
			return TOOL_OK;
		default:
			main_help(stderr);
			return TOOL_USAGE;
		}
	}
	argc -= optind;
	argv += optind;
	if (check && argc == 0) {
		rc = check_configuration(&t);
	} else if (check || argc == 0) {
		main_help(stderr);
		rc = TOOL_USAGE;
	} else
		rc = dispatch(&t, argc, argv);
	/* What it wrote, it wrote in order. */
	if (t.clean)
		clean_note(t.conf->state_dir);
	conf_free(t.conf);
	if (fflush(stdout) == EOF && rc == TOOL_OK) {
		tool_error("standard output: %m");
		rc = TOOL_FAILED;
	}
	return rc;
}
