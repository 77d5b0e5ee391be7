variable "name" {
  description = "What the machine and its parts are called."
  type        = string
  default     = "archipelag"
}

variable "location" {
  description = "Where it stands."
  type        = string
  default     = "fsn1"
}

variable "server_type" {
  description = "How large it is: two Coordinators, three NATS servers and PostgreSQL want 4 cores and 8 GB at least."
  type        = string
  default     = "cpx31"
}

variable "volume_gb" {
  description = "Disk of its own for what must not be lost with the machine."
  type        = number
  default     = 50

  validation {
    condition     = var.volume_gb >= 20
    error_message = "The database, the broker and the keys want 20 GB at least."
  }
}

variable "ssh_keys" {
  description = "Names of keys, known to the provider, of those who may sign in."
  type        = list(string)

  validation {
    condition     = length(var.ssh_keys) > 0
    error_message = "Without a key, nobody could sign in: the machine has no passwords."
  }
}

variable "admin_networks" {
  description = "From where one may sign in, such as [\"203.0.113.7/32\"]."
  type        = list(string)

  validation {
    condition     = !contains(var.admin_networks, "0.0.0.0/0") && !contains(var.admin_networks, "::/0")
    error_message = "Signing in from everywhere is not what this is for: name your own networks."
  }
}
