# One machine with a volume of its own, closed but for the network's doors, ready for deploy/compose. No secret passes
# through here, since Terraform keeps what it knows: .env is written on the machine.

data "hcloud_ssh_key" "admin" {
  for_each = toset(var.ssh_keys)
  name     = each.value
}

resource "hcloud_volume" "state" {
  name              = "${var.name}-state"
  size              = var.volume_gb
  location          = var.location
  format            = "ext4"
  delete_protection = true
}

resource "hcloud_firewall" "doors" {
  name = var.name

  rule {
    description = "Signing in, by administrators"
    direction   = "in"
    protocol    = "tcp"
    port        = "22"
    source_ips  = var.admin_networks
  }

  # HTTP and HTTPS for the proxy with TLS in front; enrolment; the three NATS servers.
  dynamic "rule" {
    for_each = toset(["80", "443", "8421", "4222-4224"])
    content {
      direction  = "in"
      protocol   = "tcp"
      port       = rule.value
      source_ips = ["0.0.0.0/0", "::/0"]
    }
  }
}

resource "hcloud_server" "network" {
  name               = var.name
  image              = "debian-12"
  server_type        = var.server_type
  location           = var.location
  ssh_keys           = [for key in data.hcloud_ssh_key.admin : key.id]
  firewall_ids       = [hcloud_firewall.doors.id]
  delete_protection  = true
  rebuild_protection = true

  user_data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
    volume = hcloud_volume.state.linux_device
  })

  lifecycle {
    # Else a new line in it would make a new machine.
    ignore_changes = [user_data]
  }
}

resource "hcloud_volume_attachment" "state" {
  volume_id = hcloud_volume.state.id
  server_id = hcloud_server.network.id
}
