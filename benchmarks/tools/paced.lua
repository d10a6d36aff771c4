-- As request.lua, but each connection thinks for 10 to 20 ms between its requests: 64 of them ask for about
-- 4,200 requests a second, whatever the answers take.
dofile("benchmarks/tools/request.lua")
delay = function() return math.random(10, 20) end
