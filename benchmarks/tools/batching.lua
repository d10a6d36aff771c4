-- One request with a binary tensor, as wrk sends it: the body's file and its headers, from the environment.
wrk.method = "POST"
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.body = file:read("*a")
file:close()
wrk.headers["content-type"] = "application/octet-stream"
local length = os.getenv("BENCH_JSON_LENGTH")
if length ~= "" then wrk.headers["inference-header-content-length"] = length end
