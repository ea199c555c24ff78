// JSON for values that describe themselves (Boost.Describe): strict reading, with the path of what is wrong.
//
// A struct announces its fields with BOOST_DESCRIBE_STRUCT, an enum its names with BOOST_DESCRIBE_ENUM.
// Reading refuses unknown fields and wrong types. A field that is absent keeps the value of its initializer:
// what must be present is checked where the meaning is known.
#pragma once
#include <boost/describe.hpp>
#include <boost/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/id.h"
#include "base/result.h"

namespace ebb::json {

using Value = boost::json::value;
using Object = boost::json::object;
using Array = boost::json::array;

// Parses one JSON document of at most `bytes_max` bytes and 32 levels; says where it breaks.
Result<Value> parse(std::string_view text, std::size_t bytes_max = 16 * 1024 * 1024);
std::string to_text(const Value& value);
// Two-space indentation, one field a line: for people.
std::string to_pretty_text(const Value& value);

namespace detail {
std::unexpected<Error> wrong_type(const std::string& path, std::string_view wanted);
std::unexpected<Error> unknown_field(const std::string& path, std::string_view name);
std::unexpected<Error> unknown_name(const std::string& path, std::string_view name, const std::string& known);
Result<std::int64_t> read_int(const Value& v, std::int64_t low, std::uint64_t high, const std::string& path);
inline std::string join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

template <class T>
struct is_id : std::false_type {};
template <class Tag>
struct is_id<Id<Tag>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class K, class V>
struct is_map<std::map<K, V>> : std::true_type {};
template <class T>
using Members = boost::describe::describe_members<T, boost::describe::mod_public>;
}  // namespace detail

// The lower-case name of an enumerator as described.
template <class E>
  requires std::is_enum_v<E>
std::string_view name_of(E value) {
  return boost::describe::enum_to_string(value, "?");
}

template <class T>
Value write(const T& value) {
  if constexpr (std::is_same_v<T, Value>) {
    return value;
  } else if constexpr (std::is_enum_v<T>) {
    return Value(boost::json::string(name_of(value)));
  } else if constexpr (std::is_arithmetic_v<T>) {
    return Value(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return Value(boost::json::string(value));
  } else if constexpr (detail::is_id<T>::value) {
    return Value(boost::json::string(value.value));
  } else if constexpr (detail::is_optional<T>::value) {
    return value ? write(*value) : Value(nullptr);
  } else if constexpr (detail::is_vector<T>::value) {
    Array array;
    for (const auto& item : value) array.push_back(write(item));
    return array;
  } else if constexpr (detail::is_map<T>::value) {
    Object object;
    for (const auto& [key, item] : value) {
      if constexpr (std::is_same_v<typename T::key_type, std::string>) {
        object[key] = write(item);
      } else {
        object[key.value] = write(item);
      }
    }
    return object;
  } else {
    Object object;
    boost::mp11::mp_for_each<detail::Members<T>>([&](auto member) {
      const auto& field = value.*member.pointer;
      if constexpr (detail::is_optional<std::remove_cvref_t<decltype(field)>>::value) {
        if (!field) return;  // an absent optional is an absent field
      }
      object[member.name] = write(field);
    });
    return object;
  }
}

template <class T>
Status read_into(T& out, const Value& v, const std::string& path);

namespace detail {
template <class E>
Status read_enum(E& out, const Value& v, const std::string& path) {
  if (!v.is_string()) return wrong_type(path, "a string");
  std::string_view text(v.get_string().data(), v.get_string().size());
  bool found = false;
  std::string known;
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<E>>([&](auto e) {
    if (text == e.name) out = e.value, found = true;
    known += (known.empty() ? "" : ", ") + std::string(e.name);
  });
  if (!found) return unknown_name(path, text, known);
  return {};
}

template <class T>
Status read_struct(T& out, const Value& v, const std::string& path) {
  if (!v.is_object()) return wrong_type(path, "an object");
  Status status;
  for (const auto& item : v.get_object()) {
    std::string_view key(item.key().data(), item.key().size());
    bool found = false;
    boost::mp11::mp_for_each<Members<T>>([&](auto member) {
      if (found || !status || key != member.name) return;
      found = true;
      status = read_into(out.*member.pointer, item.value(), join(path, key));
    });
    if (!status) return status;
    if (!found) return unknown_field(path, key);
  }
  return {};
}

template <class M>
Status read_map(M& out, const Value& v, const std::string& path) {
  if (!v.is_object()) return wrong_type(path, "an object");
  out.clear();
  for (const auto& item : v.get_object()) {
    typename M::mapped_type entry{};
    EBB_CHECKED(read_into(entry, item.value(), join(path, item.key())));
    out.emplace(typename M::key_type(std::string(item.key())), std::move(entry));
  }
  return {};
}
}  // namespace detail

template <class T>
Status read_into(T& out, const Value& v, const std::string& path) {
  if constexpr (std::is_same_v<T, Value>) {
    out = v;
  } else if constexpr (std::is_enum_v<T>) {
    return detail::read_enum(out, v, path);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!v.is_bool()) return detail::wrong_type(path, "true or false");
    out = v.get_bool();
  } else if constexpr (std::is_integral_v<T>) {
    EBB_TRY(number, detail::read_int(
                        v, std::is_signed_v<T> ? static_cast<std::int64_t>(std::numeric_limits<T>::min()) : 0,
                        static_cast<std::uint64_t>(std::numeric_limits<T>::max()), path));
    out = static_cast<T>(number);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!v.is_number()) return detail::wrong_type(path, "a number");
    out = v.to_number<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!v.is_string()) return detail::wrong_type(path, "a string");
    out.assign(v.get_string().data(), v.get_string().size());
  } else if constexpr (detail::is_id<T>::value) {
    return read_into(out.value, v, path);
  } else if constexpr (detail::is_optional<T>::value) {
    if (v.is_null()) {
      out.reset();
      return {};
    }
    typename T::value_type inner{};
    EBB_CHECKED(read_into(inner, v, path));
    out = std::move(inner);
  } else if constexpr (detail::is_vector<T>::value) {
    if (!v.is_array()) return detail::wrong_type(path, "an array");
    out.clear();
    for (const auto& item : v.get_array()) {
      typename T::value_type entry{};
      EBB_CHECKED(read_into(entry, item, fmt::format("{}[{}]", path, out.size())));
      out.push_back(std::move(entry));
    }
  } else if constexpr (detail::is_map<T>::value) {
    return detail::read_map(out, v, path);
  } else {
    return detail::read_struct(out, v, path);
  }
  return {};
}

// Reads a T; Error::field is the path of what is wrong, as in "disks[0].size".
template <class T>
Result<T> read(const Value& v) {
  T out{};
  EBB_CHECKED(read_into(out, v, ""));
  return out;
}
template <class T>
Result<T> read_text(std::string_view text) {
  EBB_TRY(value, parse(text));
  return read<T>(value);
}
template <class T>
std::string write_text(const T& value) {
  return to_text(write(value));
}

}  // namespace ebb::json

// Reading and writing a described struct is a lot of code: headers of values announce that one source file
// has it (EBB_JSON_EXTERN), and that file makes it (EBB_JSON_INSTANTIATE). Used inside namespace ebb.
#define EBB_JSON_FUNCTIONS_(prefix, type)                     \
  prefix template json::Value json::write<type>(const type&); \
  prefix template Status json::read_into<type>(type&, const json::Value&, const std::string&);
#define EBB_JSON_EXTERN(type) EBB_JSON_FUNCTIONS_(extern, type)
#define EBB_JSON_INSTANTIATE(type) EBB_JSON_FUNCTIONS_(, type)
