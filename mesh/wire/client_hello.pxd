from mesh.wire.octets cimport copy_octets

cdef int RECORD, MESSAGE
cdef bytearray HOST

cpdef object parse_client_hello(bytearray buf, Py_ssize_t n)
cdef Py_ssize_t _record(bytearray buf, Py_ssize_t at, Py_ssize_t limit) except -2
cdef bytearray _reassembled(bytearray buf, Py_ssize_t need)
cdef object parse_message(bytearray body)
cdef object parse_extensions(bytearray body, Py_ssize_t at, Py_ssize_t version)
cdef Py_ssize_t vector(bytearray body, Py_ssize_t at, Py_ssize_t end, int width, Py_ssize_t low) except -1
cdef Py_ssize_t number(bytearray body, Py_ssize_t at, Py_ssize_t end, int width) except -1
cdef str parse_server_name(bytearray body, Py_ssize_t at, Py_ssize_t end)
cdef tuple parse_alpn(bytearray body, Py_ssize_t at, Py_ssize_t end)
cdef tuple parse_versions(bytearray body, Py_ssize_t at, Py_ssize_t end)
cpdef str host_name(bytes octets)
