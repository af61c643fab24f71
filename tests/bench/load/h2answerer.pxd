from h2conn cimport H2Conn

cdef class Answerer(H2Conn):
    cdef dict ready
    cdef bint answered
    cdef long long got[4096]
    cdef unsigned char head[57344]
    cdef long long request[4096]
    cdef int mode[4096]

    cdef int on_data(self, int slot, const unsigned char* payload, Py_ssize_t n, bint last) except -1
    cdef int start(self, int slot) except -1
