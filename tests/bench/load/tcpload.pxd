from engine cimport Client, Engine, Peer

cdef unsigned char* room
cdef Py_ssize_t ROOM

cdef class Asker(Client):
    cdef int port
    cdef int turn
    cdef list requests
    cdef bint churn
    cdef bint busy
    cdef bint leaving
    cdef long long begun
    cdef Py_ssize_t got
    cdef bytes request
    cdef Py_ssize_t sent
    cdef str problem

    cdef int ask(self) except -1
    cdef int push(self) except -1
    cdef int gone(self, object why, long long now) except -1
    cdef int received(self, Py_ssize_t n) except -2

cdef class Taker(Client):
    cdef bint asked

cdef class Answerer(Peer):
    cdef Engine engine
    cdef int kind
    cdef Py_ssize_t seen
    cdef int source

    cdef int leave(self) except -1
