from mesh.dataplane.entry cimport Ticket
from mesh.dataplane.exchange cimport Exchange
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.relay cimport NEW
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.resilience.fair_queue cimport FairQueue
from mesh.resilience.token_bucket cimport TokenBuckets

cdef int PLACES
cdef double LONGEST
cdef double AFTERMATH
cdef int WAITING
cdef double PATIENCE
cdef double EARLY

cdef int MOST_CREDIT

cdef class Place(Ticket):
    cdef HeldCaller caller
    cdef HeldBack source

cdef class Credit(Ticket):
    cdef HeldCaller caller

cdef class HeldCaller:
    cdef readonly HeldBack source
    cdef readonly int credit
    cdef int earn(self, int credit) except -1
    cdef int enter(self, Exchange exchange) except -1
    cdef int leave(self, Exchange exchange) except -1

cdef class Hurry(Timer):
    cdef HeldBack source

cdef class HeldBack:
    cdef readonly Hub hub
    cdef readonly double until
    cdef readonly int taken
    cdef readonly long long refused
    cdef bint serving
    cdef FairQueue queue
    cdef Hurry hurry
    cdef dict callers
    cdef int wait(self, Exchange exchange, HeldCaller caller) except -1
    cdef int leave(self, Exchange exchange) except -1
    cdef int refuse(self, Exchange exchange) except -1
    cdef int serve(self) except -1
    cdef int release(self) except -1
    cdef int expire(self) except -1
    cdef bint idle(self) except -1

cdef class Probation:
    cdef readonly Hub hub
    cdef readonly long long offences
    cdef readonly long long refused
    cdef object offenders
    cdef TokenBuckets cancelled
    cdef readonly dict held
    cdef HeldCaller of(self, str source)
    cpdef int offend(self, str source, str cause) except -1
    cdef int cancel(self, str source, double age) except -1
    cpdef int sweep(self) except -1
