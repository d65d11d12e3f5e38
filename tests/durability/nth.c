// Preloaded into the program: its NTH-th operation on a file of its own fails with NTH_ERROR. What fails is told in the file NTH_TOLD; where nothing
// does, how many operations there were. What counts is whatever changes a file or opens one; what reads an open file does not.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long operations;

static int is_ours(const char *path) {
    return strstr(path, "outputs") || strstr(path, ".promptmill") || strstr(path, "usage.md");
}

static void tell(const char *what, const char *path, long number) {
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    int told = real_open(getenv("NTH_TOLD"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char line[4200];
    int length = snprintf(line, sizeof line, "%ld %s %s", number, what, path);
    if (told >= 0 && real_write(told, line, length) != length) abort();
}

static int fails(const char *what, const char *path) {
    const char *nth = getenv("NTH");
    if (!nth || !is_ours(path)) return 0;
    long number = __atomic_add_fetch(&operations, 1, __ATOMIC_SEQ_CST);
    if (number != atol(nth)) return 0;
    tell(what, path, number);
    errno = atoi(getenv("NTH_ERROR"));
    return 1;
}

static int file_fails(const char *what, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(what, path);
}

__attribute__((destructor)) static void end(void) {
    const char *nth = getenv("NTH");
    if (nth && operations < atol(nth)) tell("of all", "", operations);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPENS(name)                                      \
    int name(const char *path, int flags, ...) {         \
        REAL(name);                                      \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        mode_t mode = va_arg(rest, mode_t);              \
        va_end(rest);                                    \
        if (fails("open", path)) return -1;              \
        return real(path, flags, mode);                  \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int file, const void *bytes, size_t length) {
    REAL(write);
    return file_fails("write", file) ? -1 : real(file, bytes, length);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return file_fails("write", file) ? -1 : real(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    REAL(pwrite64);
    return file_fails("write", file) ? -1 : real(file, bytes, length, at);
}

int ftruncate64(int file, off64_t length) {
    REAL(ftruncate64);
    return file_fails("truncate", file) ? -1 : real(file, length);
}

int fsync(int file) {
    REAL(fsync);
    return file_fails("flush", file) ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    return file_fails("flush", file) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails("rename", to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return fails("remove", path) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails("make", path) ? -1 : real(path, mode);
}
