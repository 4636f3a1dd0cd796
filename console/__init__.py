"""`slipway`, the command line: reads what Slipway has stored, and publishes releases and commands.

    main.py       the program: options, errors, exit status
    read.py       commands that read              views.py     what they show: pure
    send.py       commands that publish           answers.py   what became of a message: pure
    dashboard/    the pages of `slipway dashboard`
    doctor.py     `slipway doctor`                topics.py    topics and subscriptions
    connect.py    project or local stack          output.py    tables and JSON
    text.py       text for terminals: pure        follow.py    polls until a rollout has ended
    options.py    what commands share             page.py      writes docs/cli.md

Not deployed, except for the pages, which may be a service of their own (docs/dashboard.md). It
reads documents and publishes messages, as anybody may with the rights of docs/cli.md, and calls
neither the handlers nor Compute Engine.
"""
