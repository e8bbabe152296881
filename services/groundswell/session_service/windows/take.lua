-- Lets a window take a write, as Window.taken does; the layout is that of Window.to_bytes.
-- KEYS: the window. ARGV: lineage, history, accepted records, duplicates, now + 1 (8 bytes), expiry
-- in ms.
local packed = redis.call('GET', KEYS[1])
if not packed then return false end

local SIZE = 19
local capacity, following = struct.unpack('>I2I4', packed)
local listed, doubt, lineage = packed:sub(7, 14), packed:sub(15, 22), packed:sub(23, 38)
local history, written_history, UNKNOWN = packed:sub(39, 46), ARGV[2], ('\0'):rep(8)
local records, held = {}, packed:sub(47)

-- Whole numbers of 8 bytes lose bits in Lua, so they are compared in two halves.
local function is_less(a, b)
  local a1, a2 = struct.unpack('>I4I4', a)
  local b1, b2 = struct.unpack('>I4I4', b)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end

local function after(time)
  local high, low = struct.unpack('>I4I4', time)
  if low == 4294967295 then return struct.pack('>I4I4', high + 1, 0) end
  return struct.pack('>I4I4', high, low + 1)
end

local function time_of(record) return '\0' .. record:sub(1, 7) end
local function sequence_of(record) return (struct.unpack('>I4', record:sub(9, 12))) end

local function put(record)
  local at = #records
  while at > 0 and is_less(time_of(record), time_of(records[at])) do at = at - 1 end
  table.insert(records, at + 1, record)
end

local function merge(written, are_doubtful)
  local sequences, times, is_doubtful = {}, {}, false
  for _, record in ipairs(records) do
    sequences[sequence_of(record)] = true
    times[time_of(record)] = true
  end
  local news = {}
  for at = 1, #written, SIZE do
    local record = written:sub(at, at + SIZE - 1)
    -- `following` is complete_to + 1.
    if sequence_of(record) >= following and not sequences[sequence_of(record)] then
      news[#news + 1] = record
      is_doubtful = is_doubtful or are_doubtful or times[time_of(record)]
    end
  end
  for _, record in ipairs(news) do
    put(record)
    sequences[sequence_of(record)] = true
  end
  while #records > capacity do table.remove(records, 1) end
  while following > 0 and sequences[following] do following = following + 1 end
  if is_doubtful then
    for _, time in ipairs({ARGV[5], after(listed)}) do
      if is_less(doubt, time) then doubt = time end
    end
  end
end

local differ = history ~= written_history and history ~= UNKNOWN and written_history ~= UNKNOWN
if lineage ~= ARGV[1] or differ then
  following, listed, lineage, history, held = 0, ('\0'):rep(8), ARGV[1], UNKNOWN, ''
end
if written_history ~= UNKNOWN then history = written_history end
for at = 1, #held, SIZE do records[#records + 1] = held:sub(at, at + SIZE - 1) end
merge(ARGV[3], false)
merge(ARGV[4], true)
packed = struct.pack('>I2I4', capacity, following) .. listed .. doubt .. lineage .. history
  .. table.concat(records)
redis.call('SET', KEYS[1], packed, 'PX', ARGV[6])
return packed
