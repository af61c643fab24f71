cpdef bytes parse_ipv4(bytes text)
cpdef bytes parse_ipv6(bytes text)
cpdef str format_ip(bytes octets)
cdef str format_ipv4(bytes octets, Py_ssize_t start)
cdef int number(bytes text, Py_ssize_t start, Py_ssize_t end, int base, Py_ssize_t most) except -2
