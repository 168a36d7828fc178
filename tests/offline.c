/* Preloaded into every process of a study: says which one tries to leave this machine, and keeps it from doing so. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int is_here(const struct sockaddr *to) {
    if (to->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr) >> 24 == 127;
    if (to->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)to)->sin6_addr);
    return 1;
}

static void tell(const char *call, const char *what) {
    FILE *log = fopen(getenv("OFFLINE_LOG"), "a");
    fprintf(log, "process %d: %s %s\n", (int)getpid(), call, what);
    fclose(log);
}

int connect(int socket, const struct sockaddr *to, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    if (is_here(to))
        return real(socket, to, length);
    tell("connect", "");
    errno = ENETUNREACH;
    return -1;
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
    if (to == NULL || is_here(to))
        return real(socket, data, size, flags, to, length);
    tell("sendto", "");
    errno = ENETUNREACH;
    return -1;
}

/* The resolver's own connections cannot be seen from here, so what it is asked for is. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    if (name == NULL || strcmp(name, own) == 0 || strcmp(name, "localhost") == 0 || strspn(name, "0123456789.:") == strlen(name))
        return real(name, port, hints, found);
    tell("getaddrinfo", name);
    return EAI_NONAME;
}
