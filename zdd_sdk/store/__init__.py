"""Redis behind a protocol: the only package that imports redis, and only when a store connects."""

from zdd_sdk.store.call import Call, Script, fuse, load_script
from zdd_sdk.store.keys import Keys
from zdd_sdk.store.protocol import Store, finish, may_suspend

__all__ = ["Call", "Keys", "Script", "Store", "finish", "fuse", "load_script", "may_suspend"]
