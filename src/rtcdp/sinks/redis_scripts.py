"""The Lua that writes: each call is one atomic step, and takes part of one partition's log.

Both begin alike: the filling must be the one that the writer knows (else Redis was flushed or lost), the writer must still be
the owner (else another has taken over), and the partition must stand where this step begins (else it was applied before, or an
older snapshot came back). So a step is applied once or not at all, whatever is repeated.

ARGV: prefix, epoch, owner, lease (ms), partition's field, first offset, next offset, entries, options; the last two as msgpack
without binary types, which Redis's own decoder does not know.
"""

from __future__ import annotations

LOST = "LOST"
"""How the reply begins when the step was refused: the writer has to look again where everything stands."""

_CHECK = """
local prefix, field = ARGV[1], ARGV[5]
if redis.call('GET', prefix .. 'epoch') ~= ARGV[2] then return redis.error_reply('LOST this is not the filling it was') end
if redis.call('GET', prefix .. 'owner') ~= ARGV[3] then return redis.error_reply('LOST another writes now') end
local position = redis.call('HGET', prefix .. 'positions', field) or '-'
if position ~= ARGV[6] then return redis.error_reply('LOST ' .. field .. ' stands at ' .. position .. ', not ' .. ARGV[6]) end
"""

_DONE = """
redis.call('HSET', prefix .. 'positions', field, ARGV[7])
redis.call('PEXPIRE', prefix .. 'owner', ARGV[4])
"""

_FORGET = """
local function forget(prefix, tenant, key)
  local meta = redis.call('GET', prefix .. 'meta:' .. key)
  local sets = meta and string.sub(meta, string.find(meta, ':', 1, true) + 1) or ''
  if sets ~= '' then
    local was = cjson.decode(sets)
    for name, _ in pairs(was[1]) do redis.call('ZREM', prefix .. 'segment:' .. tenant .. ':' .. name, key) end
    for _, id in ipairs(was[2]) do redis.call('ZREM', prefix .. 'id:' .. tenant .. '/' .. id, key) end
    if was[3] ~= '' then redis.call('SREM', prefix .. 'stage:' .. tenant .. ':' .. was[3], key) end
    if was[4] then redis.call('ZREM', prefix .. 'id:' .. key, was[4]) end
  end
  for _, kind in ipairs({'profile:', 'meta:', 'recent:', 'offers:'}) do redis.call('DEL', prefix .. kind .. key) end
end
"""
"""Everything of a profile goes, without its entry of the changelog, which nobody may be able to read any more."""

VIEWS = (
    _CHECK
    + """
-- Entries: profile key, offset, view or '' for none, sets (JSON of [{segment: entered}, [identifiers], stage, whose alias]).
local applied = 0
for _, entry in ipairs(cmsgpack.unpack(ARGV[8])) do
  local key, offset, view, sets = entry[1], entry[2], entry[3], entry[4]
  local tenant = string.match(key, '^[^/]*')
  local meta = redis.call('GET', prefix .. 'meta:' .. key)
  local at, old = -1, ''
  if meta then
    local colon = string.find(meta, ':', 1, true)
    at, old = tonumber(string.sub(meta, 1, colon - 1)), string.sub(meta, colon + 1)
  end
  if offset > at then
    applied = applied + 1
    if old ~= sets then
      local was, is = {{}, {}, ''}, {{}, {}, ''}
      if old ~= '' then was = cjson.decode(old) end
      if sets ~= '' then is = cjson.decode(sets) end
      for name, entered in pairs(is[1]) do
        if was[1][name] ~= entered then
          redis.call('ZADD', prefix .. 'segment:' .. tenant .. ':' .. name, string.format('%.0f', entered), key)
        end
      end
      for name, _ in pairs(was[1]) do
        if is[1][name] == nil then redis.call('ZREM', prefix .. 'segment:' .. tenant .. ':' .. name, key) end
      end
      if was[3] ~= is[3] then
        if was[3] ~= '' then redis.call('SREM', prefix .. 'stage:' .. tenant .. ':' .. was[3], key) end
        if is[3] ~= '' then redis.call('SADD', prefix .. 'stage:' .. tenant .. ':' .. is[3], key) end
      end
      local alias_was, alias_is = was[4] or '', is[4] or ''
      if alias_was ~= alias_is then
        if alias_was ~= '' then redis.call('ZREM', prefix .. 'id:' .. key, alias_was) end
        if alias_is ~= '' then redis.call('ZADD', prefix .. 'id:' .. key, 0, alias_is) end
      end
      local kept = {}
      for _, id in ipairs(is[2]) do
        kept[id] = true
        redis.call('ZADD', prefix .. 'id:' .. tenant .. '/' .. id, 0, key)
      end
      for _, id in ipairs(was[2]) do
        if not kept[id] then redis.call('ZREM', prefix .. 'id:' .. tenant .. '/' .. id, key) end
      end
    end
    if view == '' then
      redis.call('DEL', prefix .. 'profile:' .. key, prefix .. 'meta:' .. key,
                 prefix .. 'recent:' .. key, prefix .. 'offers:' .. key)
      if sets ~= '' then redis.call('SET', prefix .. 'meta:' .. key, string.format('%.0f', offset) .. ':' .. sets) end
    else
      redis.call('SET', prefix .. 'profile:' .. key, view)
      redis.call('SET', prefix .. 'meta:' .. key, string.format('%.0f', offset) .. ':' .. sets)
    end
  end
end
"""
    + _DONE
    + "return applied"
)

FLOWS = (
    _CHECK
    + _FORGET
    + """
-- Options: [how many are kept per profile, for how long (s), the clock (ms), [[resolution (ms), kept (s)], ...]].
-- Entries: profile key, seq, at (ms), 'kind|name|detail', record, [name, expires (ms)] of what is offered or {};
-- what has expired is offered no longer, nor are the steps of a journey of that name. What is 'erased' goes, with all of its
-- identifiers (the record: their keys), unless a view is of a later life; of what is 'withdrawn' nothing is shown any more.
local kept, keep_s, now, resolutions = unpack(cmsgpack.unpack(ARGV[9]))
local counted = {}
for _, entry in ipairs(cmsgpack.unpack(ARGV[8])) do
  local key, seq, at, what, record, offer = entry[1], entry[2], entry[3], entry[4], entry[5], entry[6]
  local tenant = string.match(key, '^[^/]*')
  local recent = prefix .. 'recent:' .. key
  if what == 'erased' then
    local view = redis.call('GET', prefix .. 'profile:' .. key)
    if not view or cjson.decode(view).seq <= seq then forget(prefix, tenant, key) end
    for _, other in ipairs(cjson.decode(record)) do
      if redis.call('EXISTS', prefix .. 'profile:' .. other) == 0 then forget(prefix, tenant, other) end
    end
    what = 'erased|erased'
  elseif what == 'withdrawn' then
    redis.call('DEL', recent, prefix .. 'offers:' .. key)
    what = nil
  else
    redis.call('ZADD', recent, string.format('%.0f', seq), record)
    redis.call('ZREMRANGEBYRANK', recent, 0, -kept - 1)
    redis.call('EXPIRE', recent, keep_s)
  end
  for _, resolution in ipairs(what and resolutions or {}) do
    local name = prefix .. 'flow:' .. tenant .. ':' .. string.format('%.0f:%.0f', resolution[1], math.floor(at / resolution[1]))
    local counts = counted[name]
    if counts == nil then counts = {resolution[2], {}} counted[name] = counts end
    counts[2][what] = (counts[2][what] or 0) + 1
  end
  if offer[1] and offer[2] > now then
    local offers = prefix .. 'offers:' .. key
    redis.call('HSET', offers, offer[1], record)
    redis.call('PEXPIRE', offers, string.format('%.0f', math.max(redis.call('PTTL', offers), offer[2] - now)))
  elseif offer[1] then
    local offers, below = prefix .. 'offers:' .. key, offer[1] .. '/'
    redis.call('HDEL', offers, offer[1])
    for _, name in ipairs(redis.call('HKEYS', offers)) do
      if string.sub(name, 1, #below) == below then redis.call('HDEL', offers, name) end
    end
  end
end
for name, counts in pairs(counted) do
  for what, count in pairs(counts[2]) do redis.call('HINCRBY', name, what, count) end
  redis.call('EXPIRE', name, counts[1])
end
"""
    + _DONE
    + "return #ARGV"
)

TAKE = """
-- KEYS: owner, epoch. ARGV: who, lease (ms). Takes the lease where it is free or ours; returns {taken, epoch or ''}.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, holder} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, redis.call('GET', KEYS[2]) or ''}
"""

YIELD = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
