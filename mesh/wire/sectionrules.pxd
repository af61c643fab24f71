from mesh.wire.fieldrules cimport STATUS

cdef dict DEFAULT_PORTS

cpdef str request_problem(int seen, bytes method, bytes scheme, bytes authority, bytes path, bytes protocol, bytes host,
                          long long content_length)
cpdef str response_problem(int seen, int status, long long content_length)
cpdef bint same_host(bytes authority, bytes host, bytes scheme) except -1
