from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PlaceOrderRequest(_message.Message):
    __slots__ = ("customer",)
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    customer: str
    def __init__(self, customer: _Optional[str] = ...) -> None: ...

class PlaceOrderResponse(_message.Message):
    __slots__ = ("receipt", "stock_left", "cart_replica", "payment_replica")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STOCK_LEFT_FIELD_NUMBER: _ClassVar[int]
    CART_REPLICA_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_REPLICA_FIELD_NUMBER: _ClassVar[int]
    receipt: str
    stock_left: int
    cart_replica: str
    payment_replica: str
    def __init__(self, receipt: _Optional[str] = ..., stock_left: _Optional[int] = ..., cart_replica: _Optional[str] = ..., payment_replica: _Optional[str] = ...) -> None: ...

class GetCartRequest(_message.Message):
    __slots__ = ("customer",)
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    customer: str
    def __init__(self, customer: _Optional[str] = ...) -> None: ...

class GetCartResponse(_message.Message):
    __slots__ = ("item", "total", "replica")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    item: str
    total: int
    replica: str
    def __init__(self, item: _Optional[str] = ..., total: _Optional[int] = ..., replica: _Optional[str] = ...) -> None: ...

class ChargeRequest(_message.Message):
    __slots__ = ("customer", "amount")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    customer: str
    amount: int
    def __init__(self, customer: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class ChargeResponse(_message.Message):
    __slots__ = ("receipt", "replica")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    receipt: str
    replica: str
    def __init__(self, receipt: _Optional[str] = ..., replica: _Optional[str] = ...) -> None: ...
