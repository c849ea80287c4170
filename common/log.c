#include "config.h"

#include "log.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* A longer line is cut: one write has to carry it. */
#define LINE_MAX_BYTES 2048

static const char *progname = "tmpnix";
static bool to_stderr = true;
static bool stderr_is_journal;
static atomic_bool starting;
static atomic_int max_level = LOG_LVL_INFO;
static _Thread_local char request_id[16];
static _Thread_local char last_warning[512];

/* $JOURNAL_STREAM has DEVICE:INODE of what systemd connected (systemd.exec(5)).
 */
static bool
is_journal(int fd)
{
	const char *said = getenv("JOURNAL_STREAM");
	char is[64];
	struct stat st;

	if (said == NULL || fstat(fd, &st) == -1)
		return false;
	snprintf(is, sizeof(is), "%ju:%ju", (uintmax_t)st.st_dev,
	    (uintmax_t)st.st_ino);
	return strcmp(said, is) == 0;
}

void
log_init(const char *prog, bool foreground, enum log_level level)
{
	progname = prog;
	to_stderr = foreground;
	log_set_level(level);
	stderr_is_journal = is_journal(STDERR_FILENO);
	atomic_store(&starting, true);
	if (!foreground)
		openlog(prog, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void
log_started(void)
{
	atomic_store(&starting, false);
}

void
log_set_level(enum log_level level)
{
	atomic_store(&max_level, (int)level);
}

void
log_request(const char *id)
{
	snprintf(request_id, sizeof(request_id), "%s", id == NULL ? "" : id);
}

/* Copy in to out, anything but printable ASCII as \xNN. */
static size_t
escape(char *out, size_t size, const char *in)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;
	unsigned char c;

	for (; (c = (unsigned char)*in) != '\0' && n + 5 < size; in++) {
		if (c >= 0x20 && c < 0x7f) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '\\';
		out[n++] = 'x';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	out[n] = '\0';
	return n;
}

static void
write_stderr(const char *text, const char *why)
{
	char line[LINE_MAX_BYTES];
	int n;

	n = snprintf(line, sizeof(line), "%s[%ld]: %s%s%s%s\n", progname,
	    (long)getpid(), request_id, request_id[0] != '\0' ? ": " : "", text,
	    why);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = (int)sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	/* Nothing can be done about a log that can't be written. */
	if (write(STDERR_FILENO, line, (size_t)n) == -1)
		return;
}

/* Is a line of this priority for standard error besides syslog? */
static bool
for_both(int priority)
{
	return !stderr_is_journal &&
	    (priority == LOG_ERR ||
		(priority == LOG_WARNING && atomic_load(&starting)));
}

static void __attribute__((format(printf, 3, 0)))
emit(int priority, int errnum, const char *fmt, va_list ap)
{
	char raw[LINE_MAX_BYTES], text[LINE_MAX_BYTES];
	char why[128] = "";

	vsnprintf(raw, sizeof(raw), fmt, ap);
	escape(text, sizeof(text), raw);
	if (errnum != 0) /* GNU's strerror_r: returns the text */
		snprintf(why, sizeof(why), ": %s",
		    strerror_r(errnum, raw, sizeof(raw)));
	if (priority <= LOG_WARNING)
		snprintf(last_warning, sizeof(last_warning), "%.256s%.128s",
		    text, why);
	if (!to_stderr)
		syslog(priority, "%s%s%s%s", request_id,
		    request_id[0] != '\0' ? ": " : "", text, why);
	if (to_stderr || for_both(priority))
		write_stderr(text, why);
}

#define EMIT(priority, errnum, fmt)                                            \
	do {                                                                   \
		va_list ap_;                                                   \
		int saved_ = errno;                                            \
		va_start(ap_, fmt);                                            \
		emit((priority), (errnum), (fmt), ap_);                        \
		va_end(ap_);                                                   \
		errno = saved_;                                                \
	} while (0)

void
log_warn(const char *fmt, ...)
{
	EMIT(LOG_WARNING, errno, fmt);
}

void
log_warnx(const char *fmt, ...)
{
	EMIT(LOG_WARNING, 0, fmt);
}

void
log_lines(const char *text)
{
	const char *lf;

	for (; (lf = strchr(text, '\n')) != NULL; text = lf + 1)
		log_warnx("%.*s", (int)(lf - text), text);
}

void
log_ended(const char *fmt, ...)
{
	char what[512], text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	escape(text, sizeof(text), what);
	snprintf(what, sizeof(what), "%s",
	    last_warning[0] != '\0' ? last_warning : "no reason was logged");
	log_warnx("%s: %s", text, what);
	if (to_stderr) {
		openlog(progname, LOG_PID, LOG_DAEMON);
		syslog(LOG_WARNING, "%s: %s", text, what);
	}
}

void
log_info(const char *fmt, ...)
{
	if (atomic_load(&max_level) >= LOG_LVL_INFO)
		EMIT(LOG_INFO, 0, fmt);
}

void
log_debug(const char *fmt, ...)
{
	if (atomic_load(&max_level) >= LOG_LVL_DEBUG)
		EMIT(LOG_DEBUG, 0, fmt);
}

void
fatal(const char *fmt, ...)
{
	EMIT(LOG_ERR, errno, fmt);
	exit(1);
}

void
fatalx(const char *fmt, ...)
{
	EMIT(LOG_ERR, 0, fmt);
	exit(1);
}
