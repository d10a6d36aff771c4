-- One iris request, as wrk sends it. URL path from the command line.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'
local bad = 0
response = function(status) if status ~= 200 then bad = bad + 1 end end
