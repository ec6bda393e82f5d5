-- What wrk asks for, and its figures as one line of JSON. Arguments: get PATH | post BYTES | mixed

local mixed = {{"/1k", 60}, {"/10k", 25}, {"/100k", 8}, {"/1m", 2}, {10000, 5}}  -- what, per cent; a number: an upload
local requests = {}

local function upload(bytes)
  return wrk.format("POST", "/upload", {["Content-Type"] = "application/octet-stream"}, string.rep("\147", bytes))
end

local function get(path)
  return wrk.format("GET", path)
end

function init(args)
  if args[1] == "get" then
    requests = {get(args[2])}
  elseif args[1] == "post" then
    requests = {upload(tonumber(args[2]))}
  else
    -- A fixed sequence of 100, so that every system gets the same.
    for _, part in ipairs(mixed) do
      local one = type(part[1]) == "number" and upload(part[1]) or get(part[1])
      for _ = 1, part[2] do requests[#requests + 1] = one end
    end
    math.randomseed(1)
    for i = #requests, 2, -1 do
      local j = math.random(i)
      requests[i], requests[j] = requests[j], requests[i]
    end
  end
end

local turn = 0

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local curve = {}
  for _, percent in ipairs({1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100}) do
    curve[#curve + 1] = string.format("[%g,%d]", percent, latency:percentile(percent))
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"bytes":%d,"us":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"curve":[%s]}\n',
    summary.requests, summary.bytes, summary.duration, errors.connect, errors.read, errors.write, errors.status,
    errors.timeout, table.concat(curve, ",")))
end
