from mesh.wire.octets cimport octets_of

cdef bytearray LENGTHS
cdef list CODES
cdef list FIRST_CODE
cdef list COUNT
cdef list OFFSET
cdef list ORDER
cdef bytearray FAST_SYMBOL
cdef bytearray FAST_LENGTH
cdef bytearray SCRATCH
cdef unsigned long long WINDOW

cpdef bytes huffman_decode(bytearray buf, Py_ssize_t start, Py_ssize_t n)
cpdef Py_ssize_t huffman_length(bytes text) except -1
cpdef bytes huffman_encode(bytes text)
