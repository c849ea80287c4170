/*
 * Log lines: "prog[pid]: req-id: message", one write(2) a line.
 *
 * Goes to standard error in the foreground, to syslog otherwise.  While a
 * program starts, its warnings go to both, so that who started it at a terminal
 * sees why it did not; a fatal line always does.  Not twice, though, to one
 * journal: where systemd says that standard error is the journal, syslog alone
 * is told.
 *
 * Bytes that are not printable ASCII come out as \xNN, so that nothing a peer
 * sent can start a line of its own or drive a terminal.  Never hand a secret or
 * a body to these functions.
 *
 * Every function here may be called from any thread and keeps errno.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

enum log_level { LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/*
 * Set the program's name (kept, not copied), where lines go and which levels
 * are written; the program is starting from now on.  To be called before any
 * thread is started.
 */
void log_init(const char *prog, bool foreground, enum log_level level);

/* It has started, and serves. */
void log_started(void);

/* Which levels are written from now on. */
void log_set_level(enum log_level level);

/*
 * Name the request this thread is working on; id is copied (15 bytes of it),
 * NULL clears it.
 */
void log_request(const char *id);

/* warn: a person should look.  The first form appends strerror(errno). */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warnx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Each line of text, which ends with LF, as a warning of its own. */
void log_lines(const char *text);

/*
 * What this process, or thread, ends without having done, with the last warning
 * of this thread behind it: to the log and, where that is standard error, to
 * syslog as well.
 */
void log_ended(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* info: one line for each finished upload and change of state. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* debug: off unless asked for. */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Start-up faults only: write the line and exit with status 1. */
void fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void fatalx(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

#endif
