cdef class Record:
    cdef public int kind
    cdef public int protocol
    cdef public unsigned long long trace_hi
    cdef public unsigned long long trace_lo
    cdef public unsigned long long span_id
    cdef public unsigned long long parent_id
    cdef public int trace_flags
    cdef public long long start_ns
    cdef public long long end_ns
    cdef public str service
    cdef public bytes path
    cdef public bytes method
    cdef public bytes authority
    cdef public str endpoint
    cdef public str peer_host
    cdef public int peer_port
    cdef public str source
    cdef public int attempt
    cdef public int attempts
    cdef public int http_status
    cdef public int grpc_status
    cdef public str reason
    cdef public str why
    cdef public str pick
    cdef public Py_ssize_t candidates
    cdef public str version
    cdef public str listener
    cdef public long long request_bytes
    cdef public long long response_bytes
    cdef public bytes tracestate
    cdef public list events
    cdef public Record whole
    cdef public str last_endpoint


cdef class Recorder:
    cdef readonly Py_ssize_t capacity
    cdef public long long dropped
    cdef public object wake
    cdef Py_ssize_t _half
    cdef list _records

    cpdef bint add(self, Record record) except -1
