from mesh.wire.codec cimport Codec, Handler
from mesh.wire.octets cimport copy_octets

cdef class FrameWriter(Codec):
    cdef readonly unsigned int peer_max_frame
    cdef int frame(self, Py_ssize_t length, int kind, int flags, unsigned int stream_id) except -1
    cdef int put_word(self, unsigned int value) except -1
    cdef int word_frame(self, int kind, unsigned int stream_id, unsigned int value) except -1
    cdef int headers_frames(self, unsigned int stream_id, bytes block, bint end) except -1
    cdef int data_frames(self, unsigned int stream_id, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cdef int settings_frame(self, object pairs) except -1
    cdef int goaway_frame(self, unsigned int last_id, unsigned int code, bytes debug) except -1
