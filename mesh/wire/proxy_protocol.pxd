from mesh.wire.ip_address cimport format_ip, parse_ipv4, parse_ipv6
from mesh.wire.octets cimport equal_at, octets_of

cdef list CRC_TABLE

cpdef object parse_proxy(bytearray buf, Py_ssize_t n)
cpdef bytes encode_v1(object source, object destination)
cpdef bytes encode_v2(object source, object destination, int kind=*, object tlvs=*, bint checksum=*)
cpdef unsigned int crc32c(bytes octets) except? 0
cdef object parse_v1(bytearray buf, Py_ssize_t n)
cdef object parse_v2(bytearray buf, Py_ssize_t n)
cdef object parse_tlvs(bytes header, Py_ssize_t at)
cdef int check_vectors(bytes octets, Py_ssize_t at, Py_ssize_t end) except -1
cdef object unix_address(bytes header, Py_ssize_t at)
cdef int port_of(bytes text) except -1
cdef bytes host_octets(str host)
