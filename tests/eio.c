/* Preloaded into a process: what lies behind EIO_FROM bytes of the file EIO_PATH cannot be read, as on a broken disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* How much of a read can still be done: all of it in any other file, none on what is broken. */
static size_t readable(int file, off_t at, size_t wanted) {
    struct stat own, broken;
    if (stat(getenv("EIO_PATH"), &broken) || fstat(file, &own) || own.st_ino != broken.st_ino || own.st_dev != broken.st_dev)
        return wanted;
    off_t left = atoll(getenv("EIO_FROM")) - at;
    return left <= 0 ? 0 : (size_t)left < wanted ? (size_t)left : wanted;
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    size_t can = readable(file, at, size);
    if (can || !size)
        return real(file, data, can, at);
    errno = EIO;
    return -1;
}

ssize_t pread64(int file, void *data, size_t size, off64_t at) { return pread(file, data, size, at); }

ssize_t read(int file, void *data, size_t size) {
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    size_t can = readable(file, lseek(file, 0, SEEK_CUR), size);
    if (can || !size)
        return real(file, data, can);
    errno = EIO;
    return -1;
}
