from engine cimport Engine, Peer
from tcpload cimport Asker

cdef class H1Asker(Asker):
    cdef bytes partial
    cdef Py_ssize_t body
    cdef Py_ssize_t need

    cdef int head(self, const unsigned char* data, Py_ssize_t n) except -2

cdef class H1Answerer(Peer):
    cdef Engine engine
    cdef bytes partial
    cdef dict ready

    cdef int leave(self) except -1
    cdef bytes answer(self, const unsigned char* data, Py_ssize_t n, bint last)
