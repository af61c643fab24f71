from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EINPROGRESS, errno as c_errno
from libc.string cimport memcmp, memset

from mesh.wire.octets cimport octets_of

cdef extern from "<sys/socket.h>" nogil:
    cdef struct c_sockaddr "sockaddr":
        pass
    cdef struct c_linger "linger":
        int l_onoff
        int l_linger
    ctypedef unsigned int socklen_t
    ssize_t c_recvfrom "recvfrom"(int fd, void *buf, size_t n, int flags, c_sockaddr *address, socklen_t *size)
    ssize_t c_sendto "sendto"(int fd, const void *buf, size_t n, int flags, const c_sockaddr *address, socklen_t size)
    int c_getsockname "getsockname"(int fd, c_sockaddr *address, socklen_t *size)
    int c_getsockopt "getsockopt"(int fd, int level, int name, void *value, socklen_t *size)
    int c_setsockopt "setsockopt"(int fd, int level, int name, const void *value, socklen_t size)
    int c_shutdown "shutdown"(int fd, int how)
    int c_socket "socket"(int family, int kind, int protocol)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_PEEK
    int SHUT_WR
    int SOCK_CLOEXEC
    int SOCK_DGRAM
    int SOCK_NONBLOCK
    int SOCK_STREAM
    int SOL_SOCKET
    int SO_ERROR
    int SO_LINGER

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from *:
    """
    /* Not through the C library: its recv, send, connect, accept4 and close are points of cancellation for threads,
       which costs two atomic operations and a call each as soon as there ever was a second thread. */
    #include <unistd.h>
    #include <sys/syscall.h>
    #define mesh_recv(fd, buf, n, flags) syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL)
    #define mesh_send(fd, buf, n, flags) syscall(SYS_sendto, fd, buf, n, flags, NULL, 0)
    #define mesh_accept4(fd, address, size, flags) ((int)syscall(SYS_accept4, fd, address, size, flags))
    #define mesh_connect(fd, address, size) ((int)syscall(SYS_connect, fd, address, size))
    #define mesh_close(fd) ((int)syscall(SYS_close, fd))
    """
    ssize_t c_recv "mesh_recv"(int fd, void *buf, size_t n, int flags) nogil
    ssize_t c_send "mesh_send"(int fd, const void *buf, size_t n, int flags) nogil
    int c_accept4 "mesh_accept4"(int fd, c_sockaddr *address, socklen_t *size, int flags) nogil
    int c_connect "mesh_connect"(int fd, const c_sockaddr *address, socklen_t size) nogil
    int c_close "mesh_close"(int fd) nogil

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data:
        unsigned long long u64
    cdef struct epoll_event:
        unsigned int events
        epoll_data data
    int c_epoll_create1 "epoll_create1"(int flags)
    int c_epoll_ctl "epoll_ctl"(int epfd, int op, int fd, epoll_event *event)
    int c_epoll_wait "epoll_wait"(int epfd, epoll_event *events, int most, int timeout)
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *result)

cpdef Py_ssize_t recv_into(int fd, bytearray buf, Py_ssize_t start, Py_ssize_t n) except? -1
cpdef Py_ssize_t peek_into(int fd, bytearray buf, Py_ssize_t start, Py_ssize_t n) except? -1
cpdef Py_ssize_t send_from(int fd, object buf, Py_ssize_t start, Py_ssize_t n) except? -1
cpdef int send_fin(int fd) except? -1
cpdef int accept_one(int fd, bytearray peer) except? -1
cpdef int connect_to(bytes address) except? -1
cpdef int connect_datagrams(bytes address) except? -1
cpdef int disconnect(int fd) except? -1
cpdef Py_ssize_t receive_from(int fd, bytearray buf, bytearray peer) except? -1
cpdef bytes sender(bytearray peer)
cpdef Py_ssize_t send_to(int fd, bytearray buf, Py_ssize_t n, bytes address) except? -1
cpdef int socket_error(int fd) except? -1
cpdef bint is_to_itself(int fd, bytes address) except? -1
cpdef int close_fd(int fd) except? -1
cpdef int reset_fd(int fd) except? -1
cpdef int set_nodelay(int fd) except? -1
cpdef int epoll_open() except? -1
cpdef int epoll_add(int epfd, int fd, unsigned int mask, unsigned long long key) except? -1
cpdef int epoll_modify(int epfd, int fd, unsigned int mask, unsigned long long key) except? -1
cpdef int epoll_delete(int epfd, int fd) except? -1
cpdef int epoll_close(int epfd) except? -1
cpdef int epoll_wait(int epfd, bytearray events, int timeout_ms) except? -1
cpdef unsigned long long event_key(bytearray events, int i) except? 0
cpdef unsigned int event_mask(bytearray events, int i) except? 0
cpdef double monotonic() except? -1
