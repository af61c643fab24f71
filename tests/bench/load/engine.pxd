from csock cimport epoll_event
from histogram cimport Histogram

cdef long long now_ns() noexcept nogil
cdef int connect_to(int port, int turn) except -1
cdef int no_delay(int fd) noexcept
cdef object trouble(object what)

cdef class Peer:
    cdef public int fd
    cdef public bint closed
    cdef bint wants_out

    cdef int on_ready(self, unsigned int events, long long now) except -1

cdef class Client(Peer):
    cdef public Engine engine
    cdef public Histogram histogram
    cdef public double interval
    cdef public double due
    cdef public long long done
    cdef public long long failed
    cdef public dict errors

    cdef int fill(self, long long now) except -1
    cdef bint has_room(self) noexcept
    cdef int settle(self, long long now) except -1
    cdef int fail(self, object why) except -1
    cdef int count(self, long long begun, long long now) except -1

cdef class Engine:
    cdef int epfd
    cdef int timer
    cdef list peers
    cdef epoll_event events[256]

    cdef int add(self, Peer peer) except -1
    cdef int watch(self, Peer peer, bint out) except -1
    cdef int drop(self, Peer peer) except -1
    cdef int turn(self, int timeout_ms) except -1

cdef class Acceptor(Peer):
    cdef Engine engine
    cdef object make
