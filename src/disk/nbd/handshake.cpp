#include "disk/nbd/nbd_session.h"

namespace ebb::disk::nbd {
namespace {

constexpr int options_max = 1000;            // a client that haggles longer is not serious
constexpr std::size_t exports_max = 10'000;  // told to a client that asks for the list
// Longer options are skipped and refused; those longer than that end the connection.
constexpr std::uint32_t option_bytes_max = 64 * KiB, skipped_bytes_max = 1 * MiB;

// Takes fields from an option's data; false once there is too little left.
class Fields {
 public:
  explicit Fields(ByteView data) : rest_(data) {}
  template <class T>
  bool number(T& out) {
    if (rest_.size() < sizeof(T)) return false;
    out = load_be<T>(rest_);
    rest_ = rest_.subspan(sizeof(T));
    return true;
  }
  // 32 bits of length, then the text, without a NUL.
  bool text(std::string& out) {
    std::uint32_t length = 0;
    if (!number(length) || length > text_bytes_max || length > rest_.size()) return false;
    out = as_text(rest_.first(length));
    rest_ = rest_.subspan(length);
    return out.find('\0') == out.npos;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  ByteView rest_;
};

enum class Next { option, transmission, end };

class Handshake {
 public:
  Handshake(Stream& stream, Reader& reader, const NbdExports& exports)
      : stream_(stream), reader_(reader), exports_(exports) {}
  Task<Result<std::optional<Agreement>>> run();

 private:
  Task<Result<Next>> answer(std::uint32_t option, Bytes data);
  Task<Result<Next>> too_long(std::uint32_t option, std::uint32_t length);
  Task<Result<Next>> export_name(Bytes data);
  Task<Result<Next>> info_or_go(std::uint32_t option, Bytes data);
  Task<Result<Next>> list();
  Task<Result<Next>> meta_contexts(std::uint32_t option, Bytes data);
  Task<Status> send(Bytes bytes);
  Task<Status> reply(std::uint32_t option, std::uint32_t type, Bytes data = {});
  Task<Result<Next>> refuse(std::uint32_t option, std::uint32_t type, std::string why);
  Task<Result<Next>> refuse_export(std::uint32_t option, Error why);
  Task<Status> tell(std::uint32_t option, std::uint16_t info, std::string text);
  void agree_on(std::string name, std::shared_ptr<BlockDevice> device, std::uint64_t size_bytes);
  std::string canonical(const std::string& name) const;
  std::string description(const std::string& name) const;

  Stream& stream_;
  Reader& reader_;
  const NbdExports& exports_;
  bool sends_zeroes_ = true;
  Agreement agreement_;
  std::string context_export_;  // the export for which contexts were selected
};

Task<Result<std::optional<Agreement>>> Handshake::run() {
  Bytes greeting;
  append_be(greeting, server_magic);
  append_be(greeting, option_magic);
  append_be(greeting, static_cast<std::uint16_t>(handshake_fixed_newstyle | handshake_no_zeroes));
  EBB_CO_CHECKED(co_await send(std::move(greeting)));

  Bytes flags(4);
  EBB_CO_CHECKED(co_await reader_.read(flags));
  auto client_flags = load_be<std::uint32_t>(flags);
  if (client_flags & ~(handshake_fixed_newstyle | handshake_no_zeroes)) {
    co_return fail(Code::invalid, "unknown client flags {:#x}", client_flags);
  }
  sends_zeroes_ = !(client_flags & handshake_no_zeroes);

  for (int i = 0; i < options_max; ++i) {
    Bytes header(16);
    EBB_CO_CHECKED(co_await reader_.read(header));
    if (load_be<std::uint64_t>(header) != option_magic)
      co_return fail(Code::invalid, "an option with a wrong magic number");
    auto option = load_be<std::uint32_t>(header, 8), length = load_be<std::uint32_t>(header, 12);
    Bytes data(length <= option_bytes_max ? length : 0);
    EBB_CO_CHECKED(co_await reader_.read(data));
    EBB_CO_TRY(next, length <= option_bytes_max ? co_await answer(option, std::move(data))
                                                : co_await too_long(option, length));
    if (next == Next::end) co_return std::nullopt;
    if (next == Next::transmission) co_return std::move(agreement_);
  }
  co_return fail(Code::invalid, "more than {} options", options_max);
}

Task<Result<Next>> Handshake::too_long(std::uint32_t option, std::uint32_t length) {
  // An export's name cannot be refused.
  if (length > skipped_bytes_max || option == opt_export_name)
    co_return fail(Code::invalid, "option {} with {} bytes", option, length);
  EBB_CO_CHECKED(co_await reader_.skip(length));
  if (option == opt_abort) co_return co_await answer(option, {});
  co_return co_await refuse(option, rep_err_too_big,
                            fmt::format("an option may have {} bytes", option_bytes_max));
}

Task<Result<Next>> Handshake::answer(std::uint32_t option, Bytes data) {
  switch (option) {
    case opt_export_name:
      co_return co_await export_name(std::move(data));
    case opt_abort:
      // The client may be gone already; that is polite enough.
      std::ignore = co_await reply(option, rep_ack);
      co_return Next::end;
    case opt_list:
      if (!data.empty()) co_return co_await refuse(option, rep_err_invalid, "this option has no data");
      co_return co_await list();
    case opt_info:
    case opt_go:
      co_return co_await info_or_go(option, std::move(data));
    case opt_structured_reply:
      if (!data.empty()) co_return co_await refuse(option, rep_err_invalid, "this option has no data");
      agreement_.terms.is_structured = true;
      EBB_CO_CHECKED(co_await reply(option, rep_ack));
      co_return Next::option;
    case opt_list_meta_context:
    case opt_set_meta_context:
      co_return co_await meta_contexts(option, std::move(data));
    default:
      co_return co_await refuse(option, rep_err_unsup, "this server does not know the option");
  }
}

void Handshake::agree_on(std::string name, std::shared_ptr<BlockDevice> device, std::uint64_t size_bytes) {
  auto& terms = agreement_.terms;
  // Contexts belong to the export they were selected for.
  terms.has_allocation = terms.has_allocation && context_export_ == name;
  terms.size_bytes = size_bytes;
  agreement_.name = std::move(name);
  agreement_.device = std::move(device);
}

Task<Result<Next>> Handshake::export_name(Bytes data) {
  std::string name(as_text(data));
  if (name.size() > text_bytes_max) co_return fail(Code::invalid, "a name of {} bytes", name.size());
  EBB_CO_TRY(device, exports_.lookup(name));  // this option has no error reply
  auto size = device->size_bytes();
  Bytes out;
  append_be(out, size);
  append_be(out, transmission_flags(*device, agreement_.terms.is_structured));
  if (sends_zeroes_) out.resize(out.size() + 124);
  EBB_CO_CHECKED(co_await send(std::move(out)));
  agree_on(std::move(name), std::move(device), size);
  co_return Next::transmission;
}

Task<Result<Next>> Handshake::info_or_go(std::uint32_t option, Bytes data) {
  Fields fields(data);
  std::string name;
  std::uint16_t count = 0, item = 0;
  bool valid = fields.text(name) && fields.number(count), wants_name = false, wants_description = false;
  for (int i = 0; valid && i < count; ++i) {
    valid = fields.number(item);
    wants_name = wants_name || item == info_name;
    wants_description = wants_description || item == info_description;
  }
  if (!valid || !fields.at_end())
    co_return co_await refuse(option, rep_err_invalid, "the option's data is malformed");
  auto device = exports_.lookup(name);
  if (!device) co_return co_await refuse_export(option, device.error());

  auto size = (*device)->size_bytes();
  Bytes about;
  append_be(about, info_export);
  append_be(about, size);
  append_be(about, transmission_flags(**device, agreement_.terms.is_structured));
  EBB_CO_CHECKED(co_await reply(option, rep_info, std::move(about)));
  Bytes sizes;
  append_be(sizes, info_block_size);
  append_be(sizes, block_bytes_min);
  append_be(sizes, block_bytes_preferred);
  append_be(sizes, payload_bytes_max);
  EBB_CO_CHECKED(co_await reply(option, rep_info, std::move(sizes)));
  if (wants_name) EBB_CO_CHECKED(co_await tell(option, info_name, canonical(name)));
  if (auto text = description(canonical(name)); wants_description && !text.empty())
    EBB_CO_CHECKED(co_await tell(option, info_description, std::move(text)));
  EBB_CO_CHECKED(co_await reply(option, rep_ack));
  if (option == opt_info) co_return Next::option;
  agree_on(std::move(name), std::move(*device), size);
  co_return Next::transmission;
}

Task<Status> Handshake::tell(std::uint32_t option, std::uint16_t info, std::string text) {
  Bytes data;
  append_be(data, info);
  append(data, as_bytes(text));
  return reply(option, rep_info, std::move(data));
}

// As the list has it: the empty name stands for the only export.
std::string Handshake::canonical(const std::string& name) const {
  if (!name.empty() || !exports_.list) return name;
  auto names = exports_.list();
  return names.size() == 1 ? names[0] : name;
}

std::string Handshake::description(const std::string& name) const {
  return exports_.describe ? clipped(exports_.describe(name)) : std::string();
}

Task<Result<Next>> Handshake::list() {
  auto names = exports_.list ? exports_.list() : std::vector<std::string>{};
  if (names.size() > exports_max) names.resize(exports_max);
  for (const auto& name : names) {
    Bytes data;
    append_be(data, static_cast<std::uint32_t>(name.size()));
    append(data, as_bytes(name));
    append(data, as_bytes(description(name)));
    EBB_CO_CHECKED(co_await reply(opt_list, rep_server, std::move(data)));
  }
  EBB_CO_CHECKED(co_await reply(opt_list, rep_ack));
  co_return Next::option;
}

Task<Result<Next>> Handshake::meta_contexts(std::uint32_t option, Bytes data) {
  bool is_list = option == opt_list_meta_context;
  if (!is_list)
    agreement_.terms.has_allocation = false;  // a new selection replaces the old one, even if it fails
  if (!agreement_.terms.is_structured)
    co_return co_await refuse(option, rep_err_invalid, "structured replies come first");
  Fields fields(data);
  std::string name, query;
  std::uint32_t count = 0;
  bool valid = fields.text(name) && fields.number(count);
  bool matches = is_list && count == 0;
  for (std::uint32_t i = 0; valid && i < count; ++i) {
    valid = fields.text(query);
    matches = matches || query == allocation_context || (is_list && query == "base:");
  }
  if (!valid || !fields.at_end())
    co_return co_await refuse(option, rep_err_invalid, "the option's data is malformed");
  if (auto device = exports_.lookup(name); !device) co_return co_await refuse_export(option, device.error());
  if (matches) {
    Bytes context;
    append_be(context, is_list ? 0u : allocation_context_id);
    append(context, as_bytes(allocation_context));
    EBB_CO_CHECKED(co_await reply(option, rep_meta_context, std::move(context)));
  }
  if (!is_list) {
    agreement_.terms.has_allocation = matches;
    context_export_ = std::move(name);
  }
  EBB_CO_CHECKED(co_await reply(option, rep_ack));
  co_return Next::option;
}

Task<Status> Handshake::send(Bytes bytes) { co_return co_await stream_.write_all({bytes}); }

Task<Status> Handshake::reply(std::uint32_t option, std::uint32_t type, Bytes data) {
  Bytes out;
  append_be(out, option_reply_magic);
  append_be(out, option);
  append_be(out, type);
  append_be(out, static_cast<std::uint32_t>(data.size()));
  append(out, data);
  return send(std::move(out));
}

Task<Result<Next>> Handshake::refuse(std::uint32_t option, std::uint32_t type, std::string why) {
  EBB_CO_CHECKED(co_await reply(option, type, to_bytes(clipped(std::move(why)))));
  co_return Next::option;
}

// A disk that went elsewhere is not served here again: the client is to leave.
Task<Result<Next>> Handshake::refuse_export(std::uint32_t option, Error why) {
  return refuse(option, why.code == Code::fenced ? rep_err_shutdown : rep_err_unknown,
                std::move(why.message));
}

}  // namespace

Task<Result<std::optional<Agreement>>> shake_hands(Stream* stream, Reader* reader,
                                                   const NbdExports* exports) {
  Handshake handshake(*stream, *reader, *exports);
  co_return co_await handshake.run();
}

}  // namespace ebb::disk::nbd
