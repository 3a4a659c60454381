"""rxpipe: reactive dataflow pipelines on RxPY."""
