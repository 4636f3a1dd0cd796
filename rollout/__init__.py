"""Decides how a release is rolled out. Pure: values in, values out.

`advance` decides, `transitions` changes phases, `commands` applies what people ask for.
`strategies/` and `gates/` are where new behaviour is added. `policy/` limits releases, and `spec/`
reads them from events.
"""
