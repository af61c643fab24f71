from mesh.wire.octets cimport is_text

cdef bytearray CLASSES
cdef int OTHER, METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, STATUS
cdef int TRACEPARENT, TRACESTATE, GRPC_TIMEOUT
cdef int CONTENT_TYPE, GRPC_STATUS, GRPC_MESSAGE, CONTENT_LENGTH, IDEMPOTENCY_KEY, NOT_DELIVERED, REASON, HOST, TE
cdef int ATTEMPTS
cdef int CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, EXPECT, COOKIE
cdef int WEBSOCKET_KEY, WEBSOCKET_ACCEPT
cdef dict KINDS
cdef frozenset CONNECTION_SPECIFIC
cdef frozenset LOOK_ALIKES

cpdef bint all_of(bytes text, int wanted) except -1
cpdef str name_problem(bytes name)
cpdef str value_problem(int kind, bytes value)
cpdef long long digits(bytes text, Py_ssize_t most) except -2
