-- One request as wrk sends it: body, media type and length of its JSON (empty: all of it) from the environment.
local file = io.open(os.getenv("BENCH_BODY"), "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["content-type"] = os.getenv("BENCH_TYPE")
local json = os.getenv("BENCH_JSON_LENGTH")
if json ~= "" then wrk.headers["inference-header-content-length"] = json end
