#include "control/api/services.h"
#include "model/network.h"

namespace ebb::control {

void NetworksService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/networks", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/networks", op, [this](Call c) { return create(std::move(c)); });
  r.add("GET", "/v1/networks/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("DELETE", "/v1/networks/{id}", op, [this](Call c) { return remove(std::move(c)); });
}

Task<HttpResponse> NetworksService::list(Call call) {
  co_return reply_or_error(page_of<VmNetwork>(c_, c_.fleet().networks(), call, keep_all));
}

Task<HttpResponse> NetworksService::show(Call call) {
  const auto* network = c_.fleet().find(NetworkId(call.param("id")));
  co_return network ? reply_with(*network) : error_reply(no_such("network", call.param("id")));
}

Result<bool> NetworksService::create_in(Batch& batch, const CreateNetwork& wish) const {
  EBB_CHECKED(check_network(wish));
  VmNetwork network{wish.id, wish.subnet, wish.gateway, wish.first, wish.last, wish.dns, batch.now()};
  if (const auto* old = c_.fleet().find(wish.id)) {
    network.created_at = old->created_at;
    if (*old == network) return true;  // the same wish again
    return fail(Code::conflict,
                "there is a network '{}' already, and it is another: remove it first, or choose another name",
                wish.id);
  }
  batch.put(network);
  batch.journal("network.created", "networks/" + wish.id.value, wish.subnet.value_or("addresses by DHCP"));
  return true;
}

Task<HttpResponse> NetworksService::create(Call call) {
  auto wish = body_of<CreateNetwork>(call);
  if (!wish) co_return error_reply(wish.error());
  const bool existed = c_.fleet().find(wish->id) != nullptr;
  auto made = co_await c_.owner.change<bool>([&](Batch& batch) { return create_in(batch, *wish); });
  if (!made) co_return error_reply(made.error());
  const auto* network = c_.fleet().find(wish->id);
  co_return network ? reply_with(*network, existed ? 200 : 201)
                    : error_reply(no_such("network", wish->id.value));
}

Task<HttpResponse> NetworksService::remove(Call call) {
  const NetworkId id(call.param("id"));
  auto removed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* network = c_.fleet().find(id);
    if (!network) return fail(no_such("network", id.value));
    for (const auto& [name, vm] : c_.fleet().vms()) {
      for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>()))
        if (interface.network == id)
          return fail(Code::conflict, "network '{}' is in use by VM '{}': remove that first", id, name);
    }
    batch.erase(*network);
    batch.journal("network.removed", "networks/" + id.value, "removed by an operator");
    return true;
  });
  co_return removed ? HttpResponse{204, {}, {}, {}} : error_reply(removed.error());
}

}  // namespace ebb::control
