-- A request whose model run is long beside what it costs to send: the body is in the file that WORKERS_BODY names.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = io.open(os.getenv("WORKERS_BODY")):read("*a")
