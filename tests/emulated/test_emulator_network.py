"""Virtual networks of the emulator, asked by Oracle's SDK: what a temporary network of its own needs, and its end."""

from emulator import compartment_id
from oci.core import models as cm
from sdk import gaps, refused, until

DOMAIN = "Test:US-ASHBURN-AD-1"


def ready(read, resource):
    return until(lambda: read(resource.id).data, lambda found: found.lifecycle_state == "AVAILABLE")


def make_vcn(sdk, cidr="10.9.0.0/24", **more):
    values = {"compartment_id": sdk.compartment, "cidr_blocks": [cidr], **more}
    return ready(sdk.network.get_vcn, sdk.network.create_vcn(cm.CreateVcnDetails(**values)).data)


def make_subnet(sdk, vcn, cidr="10.9.0.0/28", **more):
    values = {"compartment_id": sdk.compartment, "vcn_id": vcn.id, "cidr_block": cidr, **more}
    return ready(sdk.network.get_subnet, sdk.network.create_subnet(cm.CreateSubnetDetails(**values)).data)


def object_storage(sdk):
    return next(each for each in sdk.network.list_services().data if "Object Storage" in each.name)


def make_gateway(sdk, vcn):
    details = cm.CreateServiceGatewayDetails(
        compartment_id=sdk.compartment,
        vcn_id=vcn.id,
        services=[cm.ServiceIdRequestDetails(service_id=object_storage(sdk).id)],
    )
    return ready(sdk.network.get_service_gateway, sdk.network.create_service_gateway(details).data)


def make_routes(sdk, vcn, gateway, **rule):
    values = {
        "network_entity_id": gateway.id,
        "destination": object_storage(sdk).cidr_block,
        "destination_type": "SERVICE_CIDR_BLOCK",
        **rule,
    }
    details = cm.CreateRouteTableDetails(
        compartment_id=sdk.compartment, vcn_id=vcn.id, route_rules=[cm.RouteRule(**values)]
    )
    return ready(sdk.network.get_route_table, sdk.network.create_route_table(details).data)


def make_group(sdk, vcn):
    details = cm.CreateNetworkSecurityGroupDetails(compartment_id=sdk.compartment, vcn_id=vcn.id)
    return ready(sdk.network.get_network_security_group, sdk.network.create_network_security_group(details).data)


def egress(**changes):
    """A rule that lets TCP 443 out to Object Storage."""
    ports = cm.TcpOptions(destination_port_range=cm.PortRange(min=443, max=443))
    values = {
        "direction": "EGRESS",
        "protocol": "6",
        "destination": "oci-iad-objectstorage",
        "destination_type": "SERVICE_CIDR_BLOCK",
        "tcp_options": ports,
    }
    return cm.AddSecurityRuleDetails(**{**values, **changes})


def add_rules(sdk, group, *rules):
    details = cm.AddNetworkSecurityGroupSecurityRulesDetails(security_rules=list(rules))
    return sdk.network.add_network_security_group_security_rules(group.id, details).data.security_rules


def launch(sdk, subnet, **vnic):
    details = cm.LaunchInstanceDetails(
        compartment_id=sdk.compartment,
        availability_domain=DOMAIN,
        shape="VM.Standard2.1",
        source_details=cm.InstanceSourceViaImageDetails(image_id="ocid1.image.oc1.iad.aaaaplatform"),
        create_vnic_details=cm.CreateVnicDetails(subnet_id=subnet.id, **vnic),
    )
    return sdk.compute.launch_instance(details).data


def vnic_of(sdk, instance):
    (attachment,) = sdk.compute.list_vnic_attachments(sdk.compartment, instance_id=instance.id).data
    return sdk.network.get_vnic(attachment.vnic_id).data


def test_a_network_for_a_helper_is_made_and_taken_down_in_order(sdk):
    """VCN, gateway, routes, group, subnet, instance; each is held by the next, and all go in the reverse order."""
    net = sdk.network
    vcn = make_vcn(sdk)
    gateway = make_gateway(sdk, vcn)
    routes, group = make_routes(sdk, vcn, gateway), make_group(sdk, vcn)
    (rule,) = add_rules(sdk, group, egress())
    subnet = make_subnet(sdk, vcn, route_table_id=routes.id, prohibit_public_ip_on_vnic=True)
    for made in (vcn, gateway, routes, group, subnet, rule):
        assert gaps(made) == []
    instance = launch(sdk, subnet, nsg_ids=[group.id], assign_public_ip=False)
    vnic = vnic_of(sdk, instance)
    assert (vnic.private_ip, vnic.public_ip, vnic.nsg_ids) == ("10.9.0.2", None, [group.id])
    assert [each.vnic_id for each in net.list_network_security_group_vnics(group.id).data] == [vnic.id]
    steps = [
        (net.delete_subnet, subnet, "vnic"),
        (net.delete_network_security_group, group, "vnic"),
        (net.delete_route_table, routes, "subnet"),
        (net.delete_service_gateway, gateway, "routetable"),
        (net.delete_vcn, vcn, "subnet"),
    ]
    for delete, resource, holder in steps:
        assert f"references the {holder} " in refused(409, "Conflict", delete, resource.id)
    sdk.compute.terminate_instance(instance.id)
    for delete, resource, _ in steps:
        delete(resource.id)
        refused(404, "NotAuthorizedOrNotFound", delete, resource.id)
    assert net.list_vcns(sdk.compartment).data == []
    assert net.list_route_tables(sdk.compartment).data == []


def test_states_pass_on_the_virtual_clock(make_cloud):
    """PROVISIONING, AVAILABLE, TERMINATING, then 404; nothing goes into what is not AVAILABLE; tokens make once."""
    sdk = make_cloud(transition_seconds=100)
    details = cm.CreateVcnDetails(compartment_id=sdk.compartment, cidr_block="10.9.0.0/16")
    vcn = sdk.network.create_vcn(details, opc_retry_token="t").data
    assert sdk.network.create_vcn(details, opc_retry_token="t").data.id == vcn.id
    assert vcn.lifecycle_state == "PROVISIONING"
    subnet = cm.CreateSubnetDetails(compartment_id=sdk.compartment, vcn_id=vcn.id, cidr_block="10.9.1.0/24")
    refused(409, "IncorrectState", sdk.network.create_subnet, subnet)
    sdk.advance(101)
    made = sdk.network.create_subnet(subnet).data
    refused(404, "NotAuthorizedOrNotFound", launch, sdk, made)
    sdk.advance(101)
    assert sdk.network.get_subnet(made.id).data.lifecycle_state == "AVAILABLE"
    sdk.network.delete_subnet(made.id)
    assert sdk.network.get_subnet(made.id).data.lifecycle_state == "TERMINATING"
    refused(409, "Conflict", sdk.network.delete_vcn, vcn.id)
    sdk.advance(101)
    refused(404, "NotAuthorizedOrNotFound", sdk.network.get_subnet, made.id)
    sdk.network.delete_vcn(vcn.id)
    sdk.advance(101)
    refused(409, "InvalidatedRetryToken", sdk.network.create_vcn, details, opc_retry_token="t")


def test_every_vcn_has_its_default_tables(sdk):
    """Route table, security list and DHCP options come with it and cannot go before it; subnets use them."""
    vcn = make_vcn(sdk, dns_label="hx")
    assert vcn.vcn_domain_name == "hx.oraclevcn.com"
    subnet = make_subnet(sdk, vcn)
    assert (subnet.route_table_id, subnet.security_list_ids, subnet.dhcp_options_id) == (
        vcn.default_route_table_id,
        [vcn.default_security_list_id],
        vcn.default_dhcp_options_id,
    )
    rules = sdk.network.get_security_list(vcn.default_security_list_id).data
    assert [rule.protocol for rule in rules.egress_security_rules] == ["all"]
    options = sdk.network.get_dhcp_options(vcn.default_dhcp_options_id).data
    for model in (rules, options, sdk.network.list_security_lists(sdk.compartment, vcn_id=vcn.id).data[0]):
        assert gaps(model) == []
    refused(409, "Conflict", sdk.network.delete_route_table, vcn.default_route_table_id)


def test_blocks_lie_inside_and_do_not_meet(sdk):
    """A subnet outside of its VCN, or over another, is a 400; so is a VCN of a size that there is not."""
    vcn = make_vcn(sdk)
    make_subnet(sdk, vcn)
    for cidr in ("10.8.0.0/28", "10.9.0.0/27", "10.9.0.0/16", "10.9.0.0/31"):
        refused(400, "InvalidParameter", make_subnet, sdk, vcn, cidr)
    assert make_subnet(sdk, vcn, "10.9.0.16/28").virtual_router_ip == "10.9.0.17"
    refused(400, "InvalidParameter", make_vcn, sdk, "10.0.0.0/8")
    refused(400, "InvalidParameter", make_subnet, sdk, vcn, "10.9.0.32/28", availability_domain="Nowhere")


def test_a_subnet_says_who_may_be_in_it(sdk):
    """A private subnet gives no public address, an address is used once, a group must be of the same VCN."""
    vcn = make_vcn(sdk)
    private = make_subnet(sdk, vcn, prohibit_public_ip_on_vnic=True)
    refused(400, "InvalidParameter", launch, sdk, private, assign_public_ip=True)
    assert vnic_of(sdk, launch(sdk, private)).public_ip is None
    public = make_subnet(sdk, vcn, "10.9.0.16/28")
    assert vnic_of(sdk, launch(sdk, public, private_ip="10.9.0.20")).public_ip
    refused(409, "Conflict", launch, sdk, public, private_ip="10.9.0.20")
    refused(400, "InvalidParameter", launch, sdk, public, private_ip="10.9.0.17")
    elsewhere = make_group(sdk, make_vcn(sdk, "10.7.0.0/24"))
    refused(400, "InvalidParameter", launch, sdk, public, nsg_ids=[elsewhere.id])


def test_routes_lead_to_gateways_of_their_vcn(sdk):
    """A service gateway takes services only; unknown gateways are a 404; an update replaces all rules."""
    vcn = make_vcn(sdk)
    gateway = make_gateway(sdk, vcn)
    refused(400, "LimitExceeded", make_gateway, sdk, vcn)
    refused(400, "InvalidParameter", make_routes, sdk, vcn, gateway, destination="somewhere")
    unknown = "ocid1.servicegateway.oc1.iad.aaaanone"
    refused(404, "NotAuthorizedOrNotFound", make_routes, sdk, vcn, gateway, network_entity_id=unknown)
    nat = sdk.network.create_nat_gateway(cm.CreateNatGatewayDetails(compartment_id=sdk.compartment, vcn_id=vcn.id)).data
    routes = make_routes(sdk, vcn, nat, destination="0.0.0.0/0", destination_type="CIDR_BLOCK")
    assert [(rule.destination, rule.network_entity_id) for rule in routes.route_rules] == [("0.0.0.0/0", nat.id)]
    refused(409, "Conflict", sdk.network.delete_nat_gateway, nat.id)
    etag = sdk.network.get_route_table(routes.id).headers["etag"]
    empty = cm.UpdateRouteTableDetails(route_rules=[])
    refused(412, "NoEtagMatch", sdk.network.update_route_table, routes.id, empty, if_match="old")
    assert sdk.network.update_route_table(routes.id, empty, if_match=etag).data.route_rules == []
    sdk.network.delete_nat_gateway(nat.id)
    internet = cm.CreateInternetGatewayDetails(compartment_id=sdk.compartment, vcn_id=vcn.id, is_enabled=True)
    assert gaps(sdk.network.create_internet_gateway(internet).data) == []


def test_rules_of_a_group(sdk):
    """Added with ids, listed by direction, removed by id; malformed ones and too many are refused."""
    group = make_group(sdk, make_vcn(sdk))
    out, into = add_rules(
        sdk,
        group,
        egress(),
        cm.AddSecurityRuleDetails(direction="INGRESS", protocol="all", source="10.0.0.0/8", source_type="CIDR_BLOCK"),
    )
    assert out.id != into.id
    listed = sdk.network.list_network_security_group_security_rules(group.id, direction="EGRESS").data
    assert [(each.id, each.tcp_options.destination_port_range.max) for each in listed] == [(out.id, 443)]
    remove = sdk.network.remove_network_security_group_security_rules
    remove(group.id, cm.RemoveNetworkSecurityGroupSecurityRulesDetails(security_rule_ids=[into.id]))
    again = cm.RemoveNetworkSecurityGroupSecurityRulesDetails(security_rule_ids=[into.id])
    refused(404, "NotAuthorizedOrNotFound", remove, group.id, again)
    assert len(sdk.network.list_network_security_group_security_rules(group.id).data) == 1
    refused(400, "InvalidParameter", add_rules, sdk, group, egress(protocol="tcp"))
    refused(400, "MissingParameter", add_rules, sdk, group, egress(destination=None))
    refused(400, "InvalidParameter", add_rules, sdk, group, *[egress()] * 26)
    for _ in range(4):
        add_rules(sdk, group, *[egress()] * 25)
    refused(400, "LimitExceeded", add_rules, sdk, group, *[egress()] * 25)


def test_names_pages_and_foreign_compartments(make_cloud):
    """Lists page and filter by VCN and name; a network in a compartment without rights is a 404."""
    sdk = make_cloud(compartments=("main", "other"))
    vcns = [make_vcn(sdk, f"10.{n}.0.0/16", display_name=f"net-{n}") for n in range(3)]
    first = sdk.network.list_vcns(sdk.compartment, limit=2, sort_by="DISPLAYNAME")
    assert [each.display_name for each in first.data] == ["net-0", "net-1"]
    rest = sdk.network.list_vcns(sdk.compartment, limit=2, sort_by="DISPLAYNAME", page=first.headers["opc-next-page"])
    assert [each.display_name for each in rest.data] == ["net-2"]
    assert [each.id for each in sdk.network.list_vcns(sdk.compartment, display_name="net-1").data] == [vcns[1].id]
    tables = sdk.network.list_route_tables(sdk.compartment, vcn_id=vcns[2].id).data
    assert [each.id for each in tables] == [vcns[2].default_route_table_id]
    assert sdk.network.list_vcns(compartment_id("other")).data == []
    renamed = sdk.network.update_vcn(vcns[0].id, cm.UpdateVcnDetails(display_name="renamed")).data
    assert renamed.display_name == "renamed"


def test_seeded_subnets_are_the_only_ones(make_cloud):
    """Without a list in the seed any subnet's OCID is taken; with one an unknown subnet is a 404."""
    known = "ocid1.subnet.oc1.iad.aaaaknown"

    def listed(seed):
        seed["subnets"] = [{"id": known, "compartmentId": compartment_id("main"), "cidrBlock": "10.5.0.0/24"}]
        seed["instances"][0]["subnetId"] = known

    sdk = make_cloud(change=listed)
    subnet = sdk.network.get_subnet(known).data
    assert gaps(subnet) == []
    assert vnic_of(sdk, launch(sdk, subnet)).private_ip == "10.5.0.3"
    unknown = cm.Subnet(id="ocid1.subnet.oc1.iad.aaaaother")
    refused(404, "NotAuthorizedOrNotFound", launch, sdk, unknown)
