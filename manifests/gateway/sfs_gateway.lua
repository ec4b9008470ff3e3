-- What the gateway decides: what may come from the cache, what a change evicts, which process of SFS
-- gets a request, and whether an upload is worth its body.
--
-- Theory of operation. nginx cannot evict a stored answer, and need not: the key of an answer has in
-- it a generation of the file, one of each folder above it, and one of its namespace. A change that
-- was made, or of which nobody knows whether it was, makes the generation of its path new before its
-- own response goes out: if that is a folder, for all files below it. A MOVE does so at both ends.
-- Whoever asks after that asks for another key. A GET that was on its way meanwhile, with bytes from
-- before, is stored under the old key, where nobody looks again: there is no race to lose, as there
-- is with a cache that deletes. The view and the download of a file, and every spelling of its path,
-- share their generations. What is never asked for again leaves the disk after two minutes
-- (`inactive`). The index and the archive of a folder change with every file below it, and are not
-- stored.
--
-- Another process of SFS than the one that made a change may take a moment to hear of it. For `hold`
-- seconds the file, and if it was a folder all below it, is asked for with `no-cache`, by which SFS
-- believes nothing that it remembers: otherwise an answer from before would be stored under the new
-- key.
--
-- A generation is forgotten after REMEMBER seconds. By then all that was stored under the key
-- without it is older than s-maxage, and is asked about again. If the memory for generations is
-- full earlier, all stored answers lose their key at once (the epoch), and so they do at a start.
--
-- A resumable upload (tus 1.0.0) has a path of its own, and what it publishes is elsewhere: the
-- response that says so names the file in Content-Location, and evicts that alone. If the response
-- to a PATCH is lost that may have published, nobody here knows which file, and all stored answers
-- lose their key. A PATCH that was cut before its body was whole has published nothing.

local balancer = require "ngx.balancer"
local ffi = require "ffi"

ffi.cdef "int getppid(void);"

local generations = ngx.shared.sfs_generations
local lasting = ngx.shared.sfs_lasting  -- "epoch", "number" and "hold": never full
local stored = ngx.shared.sfs_stored
local health = ngx.shared.sfs_health

local FRESH = 30  -- seconds: the s-maxage of SFS
local REMEMBER = 300  -- more than FRESH and the longest time that SFS may take to begin an answer
local CONNECT_TIMEOUT_MS = 2000
local REFUSAL_TIMEOUT_MS = 10000
local REFUSAL_BYTES = 65536
local MOST_SEGMENTS = 32  -- of a path in a namespace: SFS refuses more
-- How long SFS may take, once it has the whole request, without sending a byte: to move a folder, or
-- to read an upload again whose digest it was given.
local SLOW_SECONDS = 600
local SLOW = { MOVE = true, PATCH = true }

local UPLOADS = "^/storage/uploads/"  -- the paths of resumable uploads

local READS = { GET = true, HEAD = true, OPTIONS = true }

-- Headers of the request that belong to one connection, or that the gateway sets itself; and the
-- transfer's id: that upload has not begun.
local OWN = {
    ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true,
    ["upgrade"] = true, ["forwarded"] = true, ["x-real-ip"] = true,
    ["x-forwarded-for"] = true, ["x-forwarded-proto"] = true, ["x-forwarded-host"] = true,
    ["x-request-id"] = true, ["x-transfer-id"] = true, ["expect"] = true,
}

local NO_LIVE = -3  -- NGX_BUSY, by which a balancer says that there is nobody: 502

local upstreams, largest, check_every, hold
local turn = 0
local refusals = {}  -- by connection and number of the request on it, for one internal redirect

local gateway = {}

-- Called once, before the workers are. `list` is of {address, port}, and the same may stand in it
-- several times; answers of more than `limit` bytes are not stored; every `every` seconds each
-- process is asked whether it is ready; for `pause` seconds after a change of a namespace nothing of
-- it is stored, and nothing at all for `first` seconds from the start on.
function gateway.setup(list, limit, every, pause, first)
    upstreams, largest, check_every, hold = list, limit, every, pause
    -- A reload keeps the epoch, and the generations.
    if lasting:add("epoch", ngx.now()) and first > 0 then
        lasting:set("hold", true, first)
    end
end

local function unescape(text)
    return (text:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

-- The path, without the query and without segments that are a dot, decoded: as SFS reads it.
local function path_of(uri)
    local path, found = uri:match("^[^?#]*"), 1
    while found > 0 do
        path, found = path:gsub("/%./", "/")
    end
    return unescape((path:gsub("/%.$", "/")))
end

-- Of a decoded path: the namespace, the path in it of a file or a folder, "" for the namespace
-- itself, and whether a slash says that it is a folder. Nothing for a path of an upload.
local function place_of(path)
    if path:find(UPLOADS) then
        return
    end
    local rest = path:match("^/storage/download/(.+/.+)$") or path:match("^/storage/(.+/.*)$")
    if rest then
        local namespace, name, slash = rest:match("^([^/]+)/(.-)(/?)$")
        return namespace, name, slash == "/" or name == ""
    end
end

local function generation(name)
    return generations:get(name) or 0
end

-- A number that is new on every worker: of the time alone there might be two.
local function fresh()
    return ngx.now() .. "." .. lasting:incr("number", 1, 0)
end

-- Take their key from all stored answers, and keep none for a while.
local function forget()
    lasting:set("epoch", fresh())
    lasting:set("hold", true, hold)
end

-- The generations of a path and of all folders above it, the outermost first; nil if no path has so
-- many segments.
local function generations_of(namespace, path)
    local found, stop = {}, 0
    while stop do
        if #found == MOST_SEGMENTS then
            return nil
        end
        stop = path:find("/", stop + 1, true)
        found[#found + 1] = generation("f " .. namespace .. "/" .. path:sub(1, (stop or 0) - 1))
    end
    return found
end

-- Whether a file, a folder that it is in, or all, may have changed so lately that not every process
-- of SFS has heard of it.
local function lately(found)
    if lasting:get("hold") then
        return true
    end
    local now = ngx.now()
    for _, changed in ipairs(found) do
        if now - tonumber(tostring(changed):match("^%d+")) < hold + 1 then
            return true
        end
    end
    return false
end

local function remember(name, value, seconds)
    local ok, _, forcible = generations:set(name, value, seconds)
    if not ok or forcible then
        forget()
    end
end

-- Make what a change to `path`, and if that is a folder to all below it, may have changed
-- unreachable in the cache. A path at which nothing can be changed evicts nothing: whatever is added
-- to SFS that changes files elsewhere belongs here, or names them in Content-Location.
local function evict(path)
    local namespace, name = path:match("^/storage/namespaces/([^/]+)"), ""
    if not namespace then
        namespace, name = place_of(path)
    end
    if not namespace then
        return
    end
    if name ~= "" then
        return remember("f " .. namespace .. "/" .. name, fresh(), REMEMBER)
    end
    -- Another process of SFS may not have heard of it yet: store nothing that it says.
    remember("hold " .. namespace, true, hold)
    remember("n " .. namespace, fresh(), REMEMBER)
end

-- Whether the body of the request has come whole, as far as can be said: the head is counted with it.
local function whole()
    local length = tonumber(ngx.var.http_content_length)
    return not length or tonumber(ngx.var.request_length) >= length
end

-- Evict what a change may have changed: at its path, at that where it moves something to, and at
-- that which its response names (RFC 9111 4.4; a path alone is of the same origin). A success that
-- speaks tus has changed only what it names.
local function evict_changed(status)
    local location = ngx.var.upstream_http_content_location or ""
    if location:find("^/[^/]") then
        evict(path_of(location))
    end
    if status < 400 and ngx.var.upstream_http_tus_resumable then
        return
    end
    local path = path_of(ngx.var.request_uri)
    if path:find(UPLOADS) then
        -- 507 is a refusal, which a user over the quota can have at will.
        if ngx.req.get_method() == "PATCH" and status >= 400 and status ~= 507 and whole() then
            forget()
        end
        return
    end
    evict(path)
    local destination = ngx.req.get_headers(0)["Destination"] or {}
    for _, uri in ipairs(type(destination) == "table" and destination or { destination }) do
        evict(path_of((uri:gsub("^%a[%w+.-]*://[^/?#]*", ""))))
    end
end

-- Whether the request may be answered from the cache, and its answer stored; the key if so. `found`
-- are the generations of a file in `namespace`. Whatever is not plain goes to SFS as it is: a
-- credential, a query (a token, a transfer to watch), several ranges, conditions that only the newest
-- version can meet.
local function key_of(headers, namespace, found)
    local uri = ngx.var.request_uri
    if ngx.req.get_method() ~= "GET" or uri:find("[?#]") then
        return nil
    end
    if headers["Authorization"] or headers["X-Transfer-Id"] or headers["If-Match"]
        or headers["If-Unmodified-Since"] or headers["If-Range"] then
        return nil
    end
    local control = headers["Cache-Control"]
    if control and (type(control) == "table" or control:lower():find("no%-cache")) then
        return nil
    end
    local origin = headers["Origin"] or ""
    if type(origin) ~= "string" or lasting:get("hold") or generations:get("hold " .. namespace) then
        return nil
    end
    local key = table.concat({
        lasting:get("epoch"), generation("n " .. namespace), table.concat(found, " "), origin, uri,
    }, " ")
    local range, none, since =
        headers["Range"], headers["If-None-Match"], headers["If-Modified-Since"]
    if range or none or since then
        -- nginx would ask for the whole file to answer these, however large: only where it has it.
        if type(range) == "table" or range and range:find(",") or not stored:get(key) then
            return nil
        end
    end
    return key
end

local function alive(number)
    return health:get(number) ~= false
end

-- The number of the next process in turn, ready ones first; nil if all have been `tried`.
local function choose(tried)
    turn = turn + 1
    local other
    for step = 0, #upstreams - 1 do
        local number = (turn + step) % #upstreams + 1
        if not tried[number] then
            if alive(number) then
                return number
            end
            other = other or number
        end
    end
    return other
end

-- The request again, without a body, for a process that is to say whether it wants one.
local function question()
    local uri, query = ngx.var.request_uri:match("^([^?]*)%??(.*)$")
    local kept = {}
    for part in query:gmatch("[^&]+") do
        if unescape(part:match("^[^=]*")) ~= "id" then
            kept[#kept + 1] = part
        end
    end
    local target = #kept > 0 and uri .. "?" .. table.concat(kept, "&") or uri
    local lines = { ngx.req.get_method() .. " " .. target .. " HTTP/1.1" }
    for name, values in pairs(ngx.req.get_headers(0, true)) do
        if not OWN[name:lower()] then
            for _, value in ipairs(type(values) == "table" and values or { values }) do
                lines[#lines + 1] = name .. ": " .. value
            end
        end
    end
    local var = ngx.var
    lines[#lines + 1] = "Expect: 100-continue"
    lines[#lines + 1] = "Connection: close"
    lines[#lines + 1] = "X-Request-Id: " .. var.sfs_request_id
    lines[#lines + 1] = "X-Forwarded-For: " .. var.remote_addr
    lines[#lines + 1] = "X-Forwarded-Proto: " .. var.scheme
    lines[#lines + 1] = "X-Forwarded-Host: " .. (var.http_host or "")
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- Read a refusal: its status, its headers by name with their values, and the names in their order,
-- its body; nil where there is none.
local function refusal(socket)
    local line = socket:receive("*l")
    local status = line and tonumber(line:match("^HTTP/1%.1 (%d%d%d)"))
    if not status or status < 400 then
        return nil
    end
    local headers, length = {}, 0
    repeat
        line = socket:receive("*l")
        local name, value = (line or ""):match("^([^:]+):%s*(.-)%s*$")
        local lower = name and name:lower()
        if lower == "content-length" then
            length = tonumber(value) or 0
        elseif name and lower ~= "connection" and lower ~= "transfer-encoding" then
            if not headers[name] then
                headers[name] = {}
                table.insert(headers, name)
            end
            table.insert(headers[name], value)
        end
    until not line or line == ""
    local body = length > 0 and length <= REFUSAL_BYTES and socket:receive(length) or ""
    return status, headers, body
end

-- Expect: 100-continue. nginx says Continue as soon as it reads a body, and would ask SFS later.
-- So a process is asked first, without the body: what it refuses is refused, and no Continue goes
-- out. What it would take goes the usual way, where it is checked once more. Not so for a resumable
-- upload: the question would start one, or take it over.
local function ask_first()
    local number = choose({})
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_TIMEOUT_MS, CONNECT_TIMEOUT_MS, REFUSAL_TIMEOUT_MS)
    if not socket:connect(upstreams[number][1], upstreams[number][2]) then
        return
    end
    socket:send(question())
    local status, headers, body = refusal(socket)
    socket:close()
    if not status then
        return
    end
    ngx.req.clear_header("Expect")  -- nginx would send Continue before it throws the body away
    refusals[ngx.var.connection .. " " .. ngx.var.connection_requests] = { status, headers, body }
    return ngx.exec("@refused")
end

-- Hand a refusal on.
function gateway.refuse()
    local key = ngx.var.connection .. " " .. ngx.var.connection_requests
    local status, headers, body = unpack(refusals[key])
    refusals[key] = nil
    ngx.status = status
    for _, name in ipairs(headers) do
        local values = headers[name]
        ngx.header[name] = #values == 1 and values[1] or values
    end
    ngx.header["Content-Length"] = #body
    ngx.print(body)
end

function gateway.access()
    local headers = ngx.req.get_headers(0)
    local namespace, path, folder = place_of(path_of(ngx.var.request_uri))
    local found = namespace and generations_of(namespace, path)
    if found then
        local key = not folder and key_of(headers, namespace, found)
        if lately(found) then
            ngx.req.set_header("Cache-Control", "no-cache")  -- for SFS: look again
        end
        if key then
            ngx.var.sfs_cache, ngx.var.sfs_key = "sfs", key
            return
        end
    end
    local expect = headers["Expect"]
    if type(expect) == "string" and expect:lower() == "100-continue"
        and ngx.req.http_version() == 1.1 and not READS[ngx.req.get_method()]
        and not headers["Tus-Resumable"]
        and (headers["Transfer-Encoding"] or (tonumber(headers["Content-Length"]) or 0) > 0) then
        ask_first()
    end
end

-- Whether a change may have been made (RFC 9111 4.4): SFS says that it was, or it was sent something
-- and nobody knows what came of that. A 4xx has changed nothing, whoever sent it: one of SFS is a refusal, and one of the
-- gateway (408, and 499, as proxy_ignore_client_abort is on) means that the body is not whole.
local function may_have_changed(status)
    if status >= 400 and status < 500 or status == 501 then
        return false
    end
    -- One value for each process that was tried. While a response goes out, nobody has counted yet
    -- what was sent for it; but it has come.
    local came, sent = ngx.var.upstream_header_time or "", ngx.var.upstream_bytes_sent or ""
    return status < 400 or came:find("%d") ~= nil or sent:find("[1-9]") ~= nil
end

function gateway.header()
    local var, status = ngx.var, ngx.status
    -- One that comes from the cache has that of the request for which it was made.
    ngx.header["X-Request-Id"] = var.sfs_request_id
    if not READS[ngx.req.get_method()] then
        if may_have_changed(status) then
            evict_changed(status)
            ngx.ctx.evicted = true
        end
    elseif var.upstream_cache_status == "HIT" then
        local date = ngx.parse_http_time(var.upstream_http_date or "")
        if date then
            ngx.header["Age"] = math.max(ngx.time() - date, 0)
        end
    elseif var.sfs_cache == "sfs" and (var.upstream_status or ""):match("200$") then
        local length = tonumber(var.upstream_http_content_length)
        local control = var.upstream_http_cache_control or ""
        if length and length <= largest and control:find("s-maxage", 1, true) then
            var.sfs_unfit = "0"
            stored:set(var.sfs_key, true, FRESH)
        end
    end
end

function gateway.log()
    -- The client has gone, or SFS has: no answer said what became of the change.
    if not READS[ngx.req.get_method()] and not ngx.ctx.evicted
        and may_have_changed(ngx.status) then
        evict_changed(ngx.status)
    end
end

-- Choose a process. After a failure the next one gets the request, unless it is a change of which
-- the first has got anything: that is never sent twice.
function gateway.balance()
    local context = ngx.ctx
    if balancer.get_last_failure() then
        health:set(context.number, false)
        -- One number for each try; behind it stands the one that begins, without a number yet.
        local sent = (ngx.var.upstream_bytes_sent or ""):match("(%d+)%D*$")
        if not READS[ngx.req.get_method()] and sent ~= "0" then
            return ngx.exit(NO_LIVE)
        end
    else
        context.tried = {}
        if #upstreams > 1 then
            balancer.set_more_tries(#upstreams - 1)
        end
    end
    local number = choose(context.tried)
    if not number then
        return ngx.exit(NO_LIVE)
    end
    context.tried[number], context.number = true, number
    balancer.set_current_peer(upstreams[number][1], upstreams[number][2])
    if SLOW[ngx.req.get_method()] then
        balancer.set_timeouts(nil, nil, SLOW_SECONDS)
    end
end

local function ready(upstream)
    local socket = ngx.socket.tcp()
    socket:settimeout(check_every * 900)
    if not socket:connect(upstream[1], upstream[2]) then
        return false
    end
    socket:send("GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
    local line = socket:receive("*l")
    socket:close()
    return line ~= nil and line:find("^HTTP/1%.1 200") ~= nil
end

local function check(number)
    local now, before = ready(upstreams[number]), alive(number)
    health:set(number, now)
    if now ~= before then
        local upstream = upstreams[number]
        ngx.log(ngx.CRIT, upstream[1], ":", upstream[2], now and " is ready" or " is not ready")
    end
end

-- In every worker: one asks all processes, all at once, whether they are ready.
function gateway.watch()
    local master = ffi.C.getppid()
    ngx.timer.every(check_every, function()
        if ffi.C.getppid() ~= master then  -- killed: the port is for its successor
            os.exit(1)
        end
    end)
    if ngx.worker.id() ~= 0 then
        return
    end
    local function round(premature)
        if premature then
            return
        end
        local threads = {}
        for number = 1, #upstreams do
            threads[number] = ngx.thread.spawn(check, number)
        end
        for _, thread in ipairs(threads) do
            ngx.thread.wait(thread)
        end
    end
    ngx.timer.at(0, round)
    ngx.timer.every(check_every, round)
end

local NOT_KNOWN = "If this was a change, check whether it was made before you try again."

-- What the gateway says where SFS did not: by status, the title and the detail (RFC 9457).
local PROBLEMS = {
    [400] = { "Bad Request", "The request is not well-formed HTTP." },
    [404] = { "Not Found", "There is nothing at this path." },
    [405] = { "Method Not Allowed", "The gateway does not pass TRACE on." },
    [414] = { "URI Too Long", "The target of the request is too long: its line may have 8 KiB." },
    [429] = { "Too Many Requests", "Too many requests or event streams of your address are under "
        .. "way. Wait until some have ended, and try again." },
    [431] = { "Request Header Fields Too Large", "The head of the request is too large: it may "
        .. "have 32 KiB, 8 of them in one field. In a browser, delete this site's cookies." },
    [501] = { "Not Implemented", "The only Transfer-Encoding that is read is chunked." },
    [502] = { "Bad Gateway", "The service was reached and did not respond, or could not be "
        .. "reached. " .. NOT_KNOWN },
    [504] = { "Gateway Timeout", "The service did not respond in time. " .. NOT_KNOWN },
    [505] = { "HTTP Version Not Supported", "The service speaks HTTP/1.1 and HTTP/1.0." },
}

function gateway.problem()
    local status = ngx.status
    local title, detail = unpack(PROBLEMS[status])
    local form = '{"type": "about:blank", "title": "%s", "status": %d, "detail": "%s"}'
    local body = form:format(title, status, detail)
    if status == 405 then
        ngx.header["Allow"] = "GET, HEAD, POST, PUT, PATCH, DELETE, MKCOL, MOVE, OPTIONS"
    end
    if status == 429 then
        ngx.header["Retry-After"] = "5"
    end
    ngx.header["Content-Type"] = "application/problem+json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.header["Content-Length"] = #body
    ngx.print(body)
end

-- Who is counted: an address of IPv4, or the network of 64 bits that one client of IPv6 has.
function gateway.client()
    local address = ngx.var.binary_remote_addr
    if #address ~= 16 then return address end
    if address:sub(1, 12) == ("\0"):rep(10) .. "\255\255" then return address:sub(13) end
    return address:sub(1, 8)
end

-- The gateway's own health.
function gateway.healthz()
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    for number = 1, #upstreams do
        if alive(number) then
            ngx.say('{"status": "ok"}')
            return
        end
    end
    ngx.status = 503
    ngx.say('{"status": "no process of SFS is ready"}')
end

return gateway
