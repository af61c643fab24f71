# What the compiled load and backends take of libc: sockets, epoll, a timer, the clock. No wrapping: flags and errors are
# the kernel's own.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD
    uint32_t EPOLLIN
    uint32_t EPOLLOUT

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        int sin_family
        uint16_t sin_port
        in_addr sin_addr
    int IPPROTO_TCP
    int IPPROTO_IP

cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr:
        pass
    int AF_INET
    int SOCK_STREAM
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_ERROR
    int MSG_NOSIGNAL
    int MSG_TRUNC
    int socket(int domain, int type, int protocol)
    int bind(int fd, const sockaddr* address, unsigned int length)
    int connect(int fd, const sockaddr* address, unsigned int length)
    int accept4(int fd, sockaddr* address, unsigned int* length, int flags)
    int setsockopt(int fd, int level, int name, const void* value, unsigned int length)
    int getsockopt(int fd, int level, int name, void* value, unsigned int* length)
    ssize_t recv(int fd, void* buffer, size_t length, int flags)
    ssize_t send(int fd, const void* buffer, size_t length, int flags)

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int out_fd, int in_fd, long* offset, size_t count)

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    cdef struct itimerspec:
        timespec it_interval
        timespec it_value
    int clock_gettime(int clock, timespec* result)
    int CLOCK_MONOTONIC

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new_value, itimerspec* old_value)
    int TFD_NONBLOCK
    int TFD_TIMER_ABSTIME

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t n, const void* needle, size_t m)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* one, const char* other, size_t n)

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN
    int EINPROGRESS
    int EINTR
