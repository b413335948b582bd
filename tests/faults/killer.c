/* Preloaded into a server: counts, over all its processes and threads, the system calls that change files below a
 * directory, writes each to a log, and kills the server before the n-th. strace counts for each thread and each call by
 * itself, so that it cannot reach them all.
 *
 * KILLER_BELOW is the directory, KILLER_LOG the log, KILLER_COUNT an empty file for the count, KILLER_WHEN the n (0:
 * never). Writes of the databases' pages, which are thousands, count alone if KILLER_PAGES is set, and else not at all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static const char *below;
static long when;
static int log_to, pages;

/* What all processes share. The first one is the server; the others end with it. */
struct shared {
    atomic_long calls;
    atomic_int server;
};
static struct shared *shared;

__attribute__((constructor)) static void prepare(void) {
    below = getenv("KILLER_BELOW");
    when = atol(getenv("KILLER_WHEN"));
    pages = getenv("KILLER_PAGES") != NULL;
    log_to = open(getenv("KILLER_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int count = open(getenv("KILLER_COUNT"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_ftruncate, count, (long)sizeof(struct shared));
    shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, count, 0);
    int nobody = 0;
    atomic_compare_exchange_strong(&shared->server, &nobody, getpid());
}

static void count(const char *call, const char *path, int is_page) {
    if (below == NULL || strncmp(path, below, strlen(below)) != 0 || is_page != pages)
        return;
    char line[512];
    long number = atomic_fetch_add(&shared->calls, 1) + 1;
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
    syscall(SYS_write, log_to, line, length);
    if (number == when) {
        kill(atomic_load(&shared->server), SIGKILL);
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

static void count_open(const char *call, int file, int writes) {
    char link[64], path[400];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    count(call, path, writes && (strstr(path, "/ledger.db") != NULL || strstr(path, "/mirror.db") != NULL));
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int file) {
    count_open("fsync", file, 0);
    return NEXT(fsync)(file);
}

int fdatasync(int file) {
    count_open("fdatasync", file, 0);
    return NEXT(fdatasync)(file);
}

int ftruncate(int file, off_t size) {
    count_open("ftruncate", file, 0);
    return NEXT(ftruncate)(file, size);
}

int ftruncate64(int file, off64_t size) {
    count_open("ftruncate", file, 0);
    return NEXT(ftruncate64)(file, size);
}

ssize_t write(int file, const void *data, size_t size) {
    count_open("write", file, 1);
    return NEXT(write)(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    count_open("pwrite", file, 1);
    return NEXT(pwrite)(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    count_open("pwrite", file, 1);
    return NEXT(pwrite64)(file, data, size, at);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags) {
    count_open("copy_file_range", to, 0);
    return NEXT(copy_file_range)(from, at, to, to_at, size, flags);
}

int rename(const char *from, const char *to) {
    count("rename", to, 0);
    return NEXT(rename)(from, to);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
    count("renameat2", to, 0);
    return NEXT(renameat2)(from_directory, from, to_directory, to, flags);
}

int link(const char *from, const char *to) {
    count("link", to, 0);
    return NEXT(link)(from, to);
}

int unlink(const char *path) {
    count("unlink", path, 0);
    return NEXT(unlink)(path);
}

int unlinkat(int directory, const char *path, int flags) {
    count_open("unlinkat", directory, 0);
    return NEXT(unlinkat)(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    count("mkdir", path, 0);
    return NEXT(mkdir)(path, mode);
}
