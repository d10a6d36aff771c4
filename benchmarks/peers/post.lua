-- One request, as wrk sends it; its JSON comes from WRK_BODY. No response callback: wrk counts statuses itself,
-- and calling Lua for every answer would cost the load generator more than parsing it.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = os.getenv("WRK_BODY")
