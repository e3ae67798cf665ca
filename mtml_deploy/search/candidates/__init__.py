"""Engines that propose the nearest rows in float32."""
