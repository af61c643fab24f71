from mesh.wire.h1_syntax cimport LOWER

cdef int FIRST, SIZE, NAME_FIRST, NAME, VALUE_FIRST, WORD, QUOTED, ESCAPED, QUOTED_END, SIZE_LF, DATA, DATA_CR, DATA_LF
cdef int LAST
cdef int MAX_DIGITS
cdef long long MAX_SIZE
cdef int MAX_EXTENSIONS
cdef bytearray DIGIT

cdef class Chunks:
    cdef readonly long long left
    cdef long long size
    cdef int state
    cdef int digits
    cdef int extensions
    cpdef int begin(self) except -1
    cpdef int took(self, Py_ssize_t n) except -1
    cpdef bint data_due(self) except -1
    cpdef bint last(self) except -1
    cpdef Py_ssize_t skip(self, bytearray buf, Py_ssize_t at, Py_ssize_t end) except -1
    cdef int after(self, int octet) except -1
    cdef int extension(self, int state, int octet) except -1
