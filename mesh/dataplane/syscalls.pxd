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
    ssize_t c_recv "recv"(int fd, void *buf, size_t n, int flags)
    ssize_t c_send "send"(int fd, const void *buf, size_t n, int flags)
    ssize_t c_recvfrom "recvfrom"(int fd, void *buf, size_t n, int flags, c_sockaddr *address, socklen_t *size)
    ssize_t c_sendto "sendto"(int fd, const void *buf, size_t n, int flags, const c_sockaddr *address, socklen_t size)
    int c_accept4 "accept4"(int fd, c_sockaddr *address, socklen_t *size, int flags)
    int c_connect "connect"(int fd, const c_sockaddr *address, socklen_t size)
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

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

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
cpdef int epoll_delete(int epfd, int fd) except? -1
cpdef int epoll_close(int epfd) except? -1
cpdef int epoll_wait(int epfd, bytearray events, int timeout_ms) except? -1
cpdef unsigned long long event_key(bytearray events, int i) except? 0
cpdef unsigned int event_mask(bytearray events, int i) except? 0
cpdef double monotonic() except? -1
