output "ipv4" {
  description = "What the network's name must lead to."
  value       = hcloud_server.network.ipv4_address
}

output "ipv6" {
  value = hcloud_server.network.ipv6_address
}

output "next" {
  value = "ssh root@${hcloud_server.network.ipv4_address}, copy deploy/ there, and go on with docs/how-to/deploy.md"
}
