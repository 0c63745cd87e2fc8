"""The tool in a browser: `pwseg app`.

`gateway` is the server that browsers talk to. It gives every user a process of his own (`worker`), which holds a
`workplace`: Slicer's scene and views, and a `case` on top of the same session as the Slicer module has.
"""
