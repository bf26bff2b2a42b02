"""Studies: claims about attention, measured.

A file here is a study, and a row of `table.STUDIES`; `frame` holds what a study is made of, `parts` what studies share.
"""
