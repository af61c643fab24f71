from mesh.dataplane.syscalls cimport (close_fd, epoll_add, epoll_close, epoll_delete, epoll_modify, epoll_open, epoll_wait,
                                      event_key, event_mask, monotonic, reset_fd)

from mesh.dataplane.spin cimport Spin
from mesh.dataplane.timers cimport TimerWheel
from mesh.wire.octets cimport unfilled

cdef class Watch:
    cdef readonly int fd
    cdef unsigned int serial

    cdef int on_event(self, unsigned int mask) except -1
    cdef int on_again(self) except -1
    cdef int on_error(self) except -1


cdef class Probe(Watch):
    cdef object action
    cdef int on_event(self, unsigned int mask) except -1


cdef class Reactor:
    cdef readonly object loop
    cdef public double now
    cdef readonly bytearray inbox
    cdef readonly int watched
    cdef public long long carried
    cdef readonly bint busy
    cdef object _clock
    cdef int _epfd
    cdef bytearray _events
    cdef list _table
    cdef unsigned int _serial
    cdef list _again
    cdef bint _scheduled
    cdef bint _ticking
    cdef double _tick_at
    cdef readonly double active_at
    cdef double _until
    cdef bint _called
    cdef object _ready
    cdef readonly Spin spin
    cdef readonly TimerWheel timers

    cpdef double touch(self) except? -1
    cpdef int flush(self) except -1
    cdef int after_batch(self) except -1
    cdef int _settle(self) except -1
    cpdef bint drive(self, double timeout) except -1
    cpdef int hasten(self, double when) except -1
    cpdef int part(self) except -1
    cdef int _handle(self, int count) except -1
    cdef int _ask_on(self) except -1
    cdef int _end_batch(self) except -1
    cpdef int add(self, Watch watch, int fd, unsigned int mask) except -1
    cdef int change(self, Watch watch, unsigned int mask) except -1
    cpdef int remove(self, Watch watch) except -1
    cdef int remove_by_reset(self, Watch watch) except -1
    cpdef int release(self, Watch watch) except? -1
    cpdef bint watches(self, int fd) except -1
    cdef int defer(self, Watch watch) except -1
    cdef int _forget(self, Watch watch) except -1
    cdef int _schedule(self) except -1
    cdef int _dispatch(self, int count) except -1
    cdef int _leave(self) except -1


cdef int _milliseconds(double seconds) noexcept
cdef unsigned long long _key(unsigned int serial, int fd) noexcept
