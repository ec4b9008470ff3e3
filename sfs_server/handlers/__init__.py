"""The handlers: each reads one kind of request, has it carried out, and returns the response.

A module has the handlers of one part of the contract, and no handler calls one of another module.
Which path and method leads to which handler is in :mod:`sfs_server.routes`.
"""
