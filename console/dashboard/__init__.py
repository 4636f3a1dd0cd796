"""The dashboard: the stored state as pages for a browser, read-only.

    server.py    `slipway dashboard`, on loopback      service.py   the same behind IAP
    app.py       addresses, headers, what is refused   iap.py       verifies who is in front
    sources.py   reads the documents                   snapshot.py  keeps what takes long to read
    pages.py     what each page shows: pure            chart.py     a model's picture: pure
    render.py    pages as HTML, of templates/

Nothing here imports typer or rich: the service has the packages of requirements.txt alone.
"""
