/* LD_PRELOAD: dies of SIGKILL at the n-th file call below a folder, or counts them.
 *
 * killpoint_arm(folder, n, mode): mode 0 kills before the call, 1 after it, 2 in the middle of a write; n = 0 counts,
 * n = -1 counts and names each call on stderr ("killpoint fsync /folder/file"), as the call of a death is named.
 * killpoint_count(): the calls seen since it was armed. Watched: what changes files or makes them durable.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static long seen, die_at;
static int die_how, armed;
static __thread char last[PATH_MAX]; /* the file that was looked at last */

void killpoint_arm(const char *folder, long n, int mode) {
    snprintf(below, sizeof below, "%s", folder);
    seen = 0, die_at = n, die_how = mode, armed = 1;
}

long killpoint_count(void) { return seen; }

static int under(const char *path) {
    if (!armed || !path || strncmp(path, below, strlen(below)) != 0) return 0;
    snprintf(last, sizeof last, "%s", path);
    return 1;
}

static int under_fd(int fd) {
    char link[64], path[PATH_MAX];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return under(path);
}

static int hit(const char *call, int watched) {
    if (!watched) return 0;
    int now = __sync_add_and_fetch(&seen, 1) == die_at && die_at > 0;
    if (now || die_at < 0) dprintf(2, "killpoint %s %s\n", call, last);
    return now;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define GUARD(watched, call) \
    int now = hit(__func__, watched); \
    if (now && die_how != 1) raise(SIGKILL); \
    __typeof__(call) result = call; \
    if (now) raise(SIGKILL); \
    return result

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int now = hit(__func__, under_fd(fd));
    if (now && die_how == 0) raise(SIGKILL);
    ssize_t result = real(fd, data, now && die_how == 2 ? size / 2 : size);
    if (now) raise(SIGKILL);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    int now = hit(__func__, under_fd(fd));
    if (now && die_how == 0) raise(SIGKILL);
    ssize_t result = real(fd, data, now && die_how == 2 ? size / 2 : size, at);
    if (now) raise(SIGKILL);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int now = hit(__func__, under_fd(fd));
    if (now && die_how == 0) raise(SIGKILL);
    if (now && die_how == 2 && count > 1) {
        struct iovec half = {parts[1].iov_base, parts[1].iov_len / 2}, some[2] = {parts[0], half};
        real(fd, some, 2);
        raise(SIGKILL);
    }
    ssize_t result = real(fd, parts, count);
    if (now) raise(SIGKILL);
    return result;
}

/* Dies with the first part and half of the second one written. */
static void torn(int fd, const struct iovec *parts, off64_t at) {
    struct iovec some[2] = {parts[0], {parts[1].iov_base, parts[1].iov_len / 2}};
    ssize_t (*real)(int, const struct iovec *, int, off64_t) = dlsym(RTLD_NEXT, "pwritev64");
    real(fd, some, 2, at);
    raise(SIGKILL);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    int now = hit(__func__, under_fd(fd));
    if (now && die_how == 0) raise(SIGKILL);
    if (now && die_how == 2 && count > 1) torn(fd, parts, at);
    ssize_t result = real(fd, parts, count, at);
    if (now) raise(SIGKILL);
    return result;
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    REAL(pwritev64v2);
    int now = hit(__func__, under_fd(fd));
    if (now && die_how == 0) raise(SIGKILL);
    if (now && die_how == 2 && count > 1) torn(fd, parts, at);
    ssize_t result = real(fd, parts, count, at, flags);
    if (now) raise(SIGKILL);
    return result;
}

int fsync(int fd) { REAL(fsync); GUARD(under_fd(fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); GUARD(under_fd(fd), real(fd)); }
int posix_fallocate64(int fd, off64_t at, off64_t size) { REAL(posix_fallocate64); GUARD(under_fd(fd), real(fd, at, size)); }
int fallocate64(int fd, int how, off64_t at, off64_t size) { REAL(fallocate64); GUARD(under_fd(fd), real(fd, how, at, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); GUARD(under_fd(fd), real(fd, size)); }
int rename(const char *a, const char *b) { REAL(rename); GUARD(under(a) || under(b), real(a, b)); }
int unlink(const char *path) { REAL(unlink); GUARD(under(path), real(path)); }
int rmdir(const char *path) { REAL(rmdir); GUARD(under(path), real(path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); GUARD(under(path), real(path, mode)); }

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    GUARD(flags & O_CREAT && under(path), real(path, flags, mode));
}
